//! A progress bar on the terminal that reads standard error, if there is one; in a pipe it shows nothing.

use indicatif::{ProgressBar, ProgressStyle};

use crate::facts::Progress;

/// The bar: how much has been read, how fast, how long it will still take.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Bar(bar)
    }

    /// Takes it away, so that what follows stands on clean lines.
    pub(super) fn finish(self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn begin(&self, _files: usize, bytes: u64) {
        self.0.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}
