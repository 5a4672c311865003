//! The progress bar.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vaekl::Progress;

/// A bar on stderr with the time left; indicatif draws nothing when stderr is not a terminal.
pub(crate) fn bar(label: &'static str, quiet: bool) -> ProgressBar {
    let target =
        if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
    let style = ProgressStyle::with_template("{msg} [{bar:32}] {percent:>3}% {eta} left")
        .expect("the template is a constant")
        .progress_chars("=> ");
    ProgressBar::with_draw_target(Some(1), target).with_style(style).with_message(label)
}

/// A progress callback that moves `bar`.
pub(crate) fn callback(bar: ProgressBar) -> Box<dyn FnMut(Progress) -> ControlFlow<()> + Send> {
    Box::new(move |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        ControlFlow::Continue(())
    })
}
