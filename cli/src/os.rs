//! What differs by system: the one file of the command that asks which it is compiled for.

/// Has a write beyond the limit of file sizes fail like one on a full disk; the signal that tells
/// of it would end the process. To be called before there are other threads.
pub(crate) fn refuse_file_size_signal() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigSet, Signal};
        // Without it a full disk is still an error, and such a write the end.
        let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
    }
}
