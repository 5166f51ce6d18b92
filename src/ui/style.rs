//! Colours, and when not to use them.

use anstyle::{AnsiColor, Color, Effects};

/// When to use colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or TERM is dumb
    #[default]
    Auto,
    Always,
    Never,
}

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    on: bool,
}

const NODE_COLORS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Green, AnsiColor::Yellow, AnsiColor::Blue, AnsiColor::Magenta, AnsiColor::BrightCyan];

impl Style {
    pub fn choose(choice: ColorChoice, terminal: bool) -> Self {
        let plain =
            std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let on = match choice {
            ColorChoice::Auto => terminal && !plain,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        Self { on }
    }

    /// Never paints.
    pub const fn plain() -> Self {
        Self { on: false }
    }

    fn paint(self, style: anstyle::Style, text: &str) -> String {
        if self.on { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn color(self, color: AnsiColor, text: &str) -> String {
        self.paint(anstyle::Style::new().fg_color(Some(Color::Ansi(color))), text)
    }

    pub fn bold(self, text: &str) -> String {
        self.paint(anstyle::Style::new().effects(Effects::BOLD), text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint(anstyle::Style::new().effects(Effects::DIMMED), text)
    }

    pub fn red(self, text: &str) -> String {
        self.paint(anstyle::Style::new().fg_color(Some(Color::Ansi(AnsiColor::Red))).effects(Effects::BOLD), text)
    }

    /// Of a line that goes.
    pub fn removed(self, text: &str) -> String {
        self.color(AnsiColor::Red, text)
    }

    pub fn green(self, text: &str) -> String {
        self.color(AnsiColor::Green, text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.color(AnsiColor::Yellow, text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.color(AnsiColor::Cyan, text)
    }

    /// `server-0 |`, each node in its own colour.
    pub fn node(self, name: &str) -> String {
        let sum = name.bytes().fold(0_usize, |a, b| a.wrapping_mul(31).wrapping_add(usize::from(b)));
        self.color(NODE_COLORS[sum % NODE_COLORS.len()], &format!("{name} |"))
    }
}
