//! What an operator runs on.

use std::ops::ControlFlow;

use crate::kernels::Kernels;
use crate::kernels::threads::Threads;

/// The threads and the kernels of a session.
#[derive(Clone, Copy)]
pub(crate) struct Exec<'a> {
    pub(crate) threads: &'a Threads,
    pub(crate) kernels: &'a Kernels,
}

impl Exec<'_> {
    /// Runs `f` on each item, on all threads. For work of milliseconds, which needs no cancelling.
    pub(crate) fn each<I: Send>(self, items: Vec<I>, f: impl Fn(I) + Sync) {
        let mut workers = vec![(); self.threads.count()];
        let mut go_on = |_| ControlFlow::Continue(());
        let _ = self.threads.run(&mut workers, items, &mut go_on, |(), item| f(item));
    }
}
