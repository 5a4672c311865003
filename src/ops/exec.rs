//! What an operator runs on.

use std::ops::ControlFlow;

use crate::base::error::Result;
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
    ///
    /// # Errors
    /// The first of `f`; items not yet begun are dropped.
    pub(crate) fn each<I: IntoIterator<IntoIter: Send>>(
        self,
        items: I,
        f: impl Fn(I::Item) -> Result<()> + Sync,
    ) -> Result<()> {
        // Without a size, so that nothing is allocated.
        let mut workers = vec![(); self.threads.count()];
        let mut go_on = |_| ControlFlow::Continue(());
        let _ = self.threads.try_run(&mut workers, items, &mut go_on, |(), item| f(item))?;
        Ok(())
    }
}
