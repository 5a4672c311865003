use std::ops::ControlFlow;
use std::sync::Mutex;
use crate::base::error::*;
pub(crate) fn physical_cores() -> usize { 2 }
pub(crate) struct Threads { n: usize }
impl Threads {
    pub(crate) fn new(n: usize) -> Result<Self> { Ok(Self { n }) }
    pub(crate) fn count(&self) -> usize { self.n }
    pub(crate) fn run<W: Send, I: Send>(&self, workers: &mut [W], items: Vec<I>, tick: &mut dyn FnMut(usize) -> ControlFlow<()>, f: impl Fn(&mut W, I) + Sync) -> ControlFlow<()> {
        let q = Mutex::new(items.into_iter());
        std::thread::scope(|s| {
            for w in workers { let (q, f) = (&q, &f); s.spawn(move || loop { let i = q.lock().unwrap().next(); let Some(i) = i else { break }; f(w, i) }); }
        });
        tick(1)
    }
}
