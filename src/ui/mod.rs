//! The only place that draws on a terminal: errors, progress, live output.
