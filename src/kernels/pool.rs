//! A pool of threads that ends with all of them: rayon's own leaves them to end by themselves.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::process::Process;

/// Threads, all of which have ended when it is dropped, to the last destructor of their own.
pub(super) struct Pool {
    /// `None` only while it is dropped.
    pool: Option<ThreadPool>,
    threads: Spawned,
    /// The process that has the threads.
    process: Process,
}

/// What a thread runs.
type Body = Box<dyn FnOnce() + Send>;

/// Threads that were started, and end when their pool does.
struct Spawned(Mutex<Vec<JoinHandle<()>>>);

impl Pool {
    /// # Errors
    /// `OutOfMemory` if the system has no more threads; those that began have ended.
    pub(super) fn new(count: usize) -> Result<Self> {
        Self::spawned_by(count, &|builder, run| builder.spawn(run))
    }

    /// A pool of `count` threads that `spawn` starts.
    fn spawned_by(
        count: usize,
        spawn: &dyn Fn(Builder, Body) -> io::Result<JoinHandle<()>>,
    ) -> Result<Self> {
        let threads = Spawned(Mutex::new(Vec::new()));
        let built = ThreadPoolBuilder::new()
            .num_threads(count)
            .spawn_handler(|thread| {
                let builder = Builder::new().name(format!("vaekl-{}", thread.index() + 1));
                let started = spawn(builder, Box::new(|| thread.run()))?;
                threads.lock().push(started);
                Ok(())
            })
            .build();
        match built {
            Ok(pool) => Ok(Self { pool: Some(pool), threads, process: Process::current() }),
            Err(error) => {
                // Rayon has told those that began to end.
                threads.join();
                Err(Error::new(
                    ErrorKind::OutOfMemory,
                    format!("{} threads cannot be had: {error}", count + 1),
                ))
            }
        }
    }

    pub(super) fn pool(&self) -> Option<&ThreadPool> {
        self.pool.as_ref()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let pool = self.pool.take();
        if self.process.is_current() {
            drop(pool);
            self.threads.join();
        } else {
            // After a fork there are no threads to tell or to wait for, and a lock that one of them
            // had stays locked.
            std::mem::forget(pool);
            std::mem::forget(std::mem::take(&mut *self.threads.lock()));
        }
    }
}

impl Spawned {
    fn lock(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the ends of all threads, unless it is one of them that asks: what it is at must
    /// end before any of them does.
    fn join(&self) {
        let threads = std::mem::take(&mut *self.lock());
        let here = std::thread::current().id();
        if threads.iter().any(|thread| thread.thread().id() == here) {
            return;
        }
        for thread in threads {
            // What a thread did is known already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Counts the threads that have ended, a while after they could.
    struct Ended(Arc<AtomicUsize>);

    impl Drop for Ended {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(30));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    thread_local! {
        static ENDED: RefCell<Option<Ended>> = const { RefCell::new(None) };
    }

    /// Starts threads until there are `most`, each of which counts its end.
    fn counting(
        ended: &Arc<AtomicUsize>,
        most: usize,
    ) -> impl Fn(Builder, Body) -> io::Result<JoinHandle<()>> {
        let (ended, begun) = (Arc::clone(ended), AtomicUsize::new(0));
        move |builder, run| {
            if begun.fetch_add(1, Ordering::SeqCst) == most {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let ended = Ended(Arc::clone(&ended));
            builder.spawn(move || {
                ENDED.set(Some(ended));
                run();
            })
        }
    }

    /// Not only their work: a host may unload the library next, with their destructors in it.
    #[test]
    fn a_dropped_pool_has_no_thread_left() {
        let ended = Arc::new(AtomicUsize::new(0));
        drop(Pool::spawned_by(3, &counting(&ended, 3)).unwrap());
        assert_eq!(ended.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_pool_that_cannot_be_had_leaves_no_thread() {
        let ended = Arc::new(AtomicUsize::new(0));
        let Err(error) = Pool::spawned_by(4, &counting(&ended, 2)) else { panic!("a pool") };
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.message().starts_with("5 threads cannot be had: "), "{error}");
        assert_eq!(ended.load(Ordering::SeqCst), 2);
    }

    /// It cannot wait for itself, nor for the others, which end after it.
    #[test]
    fn a_thread_of_the_pool_may_drop_it() {
        let pool = Arc::new(Pool::new(2).unwrap());
        let own = Arc::clone(&pool);
        let (send, receive) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        pool.pool().unwrap().spawn(move || {
            wait.recv().unwrap();
            drop(own);
            send.send(()).unwrap();
        });
        drop(pool);
        go.send(()).unwrap();
        receive.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
