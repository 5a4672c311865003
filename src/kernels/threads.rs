//! The one parallel primitive: items handed out in order to a few workers.

use std::iter::Fuse;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::pool::Pool;
use crate::base::error::{Error, Result};
use crate::base::process::Process;

/// The threads of a session: the calling one and a pool for the others. They have ended when it is
/// dropped.
pub(crate) struct Threads {
    count: usize,
    pool: Option<Pool>,
    process: Process,
}

impl Threads {
    /// # Errors
    /// `OutOfMemory` if the system has no more threads.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let count = count.max(1);
        let pool = if count == 1 { None } else { Some(Pool::new(count - 1)?) };
        Ok(Self { count, pool, process: Process::current() })
    }

    /// Fails in a process that was forked from the one with the threads, whatever their number: one
    /// rule for all sessions.
    ///
    /// # Errors
    /// `State`.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.process.check("session")
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Runs `f(worker, item)` for every item. Items are taken in order by whichever worker is free,
    /// and are made as they are taken, by one worker at a time. The first worker is the calling
    /// thread, and there are as many as both `workers` and threads allow.
    ///
    /// Between its own items the calling thread calls `tick` with the number of items done. `Break`
    /// drops the items not yet begun and is returned once those begun are done.
    ///
    /// # Panics
    /// If `f` panics, after all workers stopped.
    pub(crate) fn run<W: Send, I: IntoIterator<IntoIter: Send>>(
        &self,
        workers: &mut [W],
        items: I,
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
        f: impl Fn(&mut W, I::Item) + Sync,
    ) -> ControlFlow<()> {
        let queue = Mutex::new(items.into_iter().fuse());
        let work = Work { queue, done: 0.into(), stop: false.into(), f };
        let Some((first, others)) = workers.split_first_mut() else {
            return ControlFlow::Continue(());
        };
        match self.pool.as_ref().and_then(Pool::pool) {
            Some(pool) if !others.is_empty() => pool.in_place_scope(|scope| {
                for worker in others.iter_mut().take(self.count - 1) {
                    scope.spawn(|_| while work.step(worker) {});
                }
                work.lead(first, tick)
            }),
            _ => work.lead(first, tick),
        }
    }

    /// Like [`Threads::run`], for items that can fail: the first error drops the items not yet
    /// begun and is returned.
    pub(crate) fn try_run<W: Send, I: IntoIterator<IntoIter: Send>>(
        &self,
        workers: &mut [W],
        items: I,
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
        f: impl Fn(&mut W, I::Item) -> Result<()> + Sync,
    ) -> Result<ControlFlow<()>> {
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tick = |done| if failed().is_some() { ControlFlow::Break(()) } else { tick(done) };
        let flow = self.run(workers, items, &mut tick, |worker, item| {
            if let Err(error) = f(worker, item) {
                failed().get_or_insert(error);
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(flow),
        }
    }
}

struct Work<I, F> {
    queue: Mutex<Fuse<I>>,
    done: AtomicUsize,
    stop: AtomicBool,
    f: F,
}

impl<I: Iterator, F> Work<I, F> {
    /// Does one item; false if none is left.
    fn step<W>(&self, worker: &mut W) -> bool
    where
        F: Fn(&mut W, I::Item),
    {
        if self.stop.load(Ordering::Relaxed) {
            return false;
        }
        // A panic elsewhere poisons nothing here: the queue is only locked to make an item.
        let item = self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
        let Some(item) = item else { return false };
        (self.f)(worker, item);
        self.done.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// The calling thread's part.
    fn lead<W>(
        &self,
        worker: &mut W,
        tick: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()>
    where
        F: Fn(&mut W, I::Item),
    {
        // Should `f` or `tick` panic, the other workers stop too.
        let guard = StopOnDrop(&self.stop);
        loop {
            tick(self.done.load(Ordering::Relaxed))?;
            if !self.step(worker) {
                std::mem::forget(guard);
                return ControlFlow::Continue(());
            }
        }
    }
}

/// Stops the work if the calling thread leaves early: by `Break`, or by a panic.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO: fn(usize) -> ControlFlow<()> = |_| ControlFlow::Continue(());

    #[test]
    fn every_item_runs_once_on_some_worker() {
        for count in [1, 2, 5] {
            let threads = Threads::new(count).unwrap();
            let mut workers = vec![Vec::new(); count];
            let flow = threads.run(&mut workers, 0..1000, &mut GO.clone(), |w, i| w.push(i));
            assert!(flow.is_continue());
            let mut all: Vec<i32> = workers.concat();
            all.sort_unstable();
            assert_eq!(all, (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_tick_runs_on_the_caller_and_stops_the_rest() {
        let threads = Threads::new(2).unwrap();
        let caller = std::thread::current().id();
        let done = AtomicUsize::new(0);
        let mut tick = |done: usize| {
            assert_eq!(std::thread::current().id(), caller);
            if done >= 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let flow = threads.run(&mut [(), ()], 0..100_000, &mut tick, |(), _: i32| {
            done.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_micros(10));
        });
        assert!(flow.is_break());
        assert!(done.load(Ordering::Relaxed) < 1000);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        for count in [1, 3] {
            let threads = Threads::new(count).unwrap();
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut workers = vec![(); count];
                let _ = threads.run(&mut workers, 0..100, &mut GO.clone(), |(), i| {
                    assert_ne!(i, 50, "planted");
                });
            }));
            assert!(caught.is_err());
            // And the threads still work.
            assert!(
                threads.run(&mut vec![(); count], [1], &mut GO.clone(), |(), _| {}).is_continue()
            );
        }
    }
}
