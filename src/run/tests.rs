use std::cell::Cell;

thread_local! {
    /// How often a network was recorded on this thread.
    static RECORDED: Cell<usize> = const { Cell::new(0) };
}

/// Counts a recording.
pub(super) fn recorded() {
    RECORDED.set(RECORDED.get() + 1);
}
