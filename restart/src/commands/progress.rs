//! A progress bar on stderr, where that is a terminal and the work takes more than a second.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// A bar appears when the work takes longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar that may never be seen.
pub struct Bar {
    name: String,
    begun: Instant,
    terminal: bool,
    bar: Option<ProgressBar>,
}

impl Bar {
    /// A bar with a name before it.
    pub fn new(name: impl Into<String>) -> Bar {
        Bar {
            name: name.into(),
            begun: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            bar: None,
        }
    }

    /// Shows that `done` of `total` bytes are done.
    pub fn show(&mut self, done: u64, total: u64) {
        if self.bar.is_none() && self.terminal && self.begun.elapsed() > PATIENCE {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(
                "{prefix} {bar:32} {bytes}/{total_bytes} {binary_bytes_per_sec}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(self.name.clone());
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// Takes it away.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
