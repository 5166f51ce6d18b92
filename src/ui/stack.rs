//! What a stack's plan looks like on a terminal.

use super::style::Style;
use crate::domain::stack::Plan;
use crate::domain::stack::show::{self, Tone};

/// Returns the plan, painted, ending in a newline.
pub fn render(plan: &Plan, style: Style) -> String {
    let paint = |tone: Tone, line: &str| match tone {
        Tone::Title => style.bold(line),
        Tone::Loss => style.red(line),
        Tone::Change => style.yellow(line),
        Tone::Gain => style.green(line),
        Tone::Minus => style.removed(line),
        Tone::Dim => style.dim(line),
        Tone::Plain => line.to_owned(),
    };
    show::lines(plan).into_iter().map(|(tone, line)| paint(tone, &line) + "\n").collect()
}
