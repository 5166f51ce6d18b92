//! `opsrun doc [NAME]`: the manual of what scripts can call.

use super::App;
use super::complete::topics;
use super::run::host;
use crate::base::error::{Error, Kind, Result};
use crate::base::suggest::nearest;
use crate::script::reference::{self, Entry, Sort};
use crate::ui::style::Style;
use clap_complete::engine::ArgValueCandidates;
use std::path::Path;

const EXAMPLES: &str = "\
Examples:
  opsrun doc                      everything, a line each
  opsrun doc Nodes.sh
  opsrun doc std/cassandra
  opsrun doc snapshot             whatever has to do with it
  opsrun doc --json | jq -r '.[].name'

--json prints an array with one object a function, property or type: name, sort, module, forms, text, examples.";

/// Show what scripts can call
///
/// Without a name, a list; with one, its manual: sleep, Nodes.sh, file::read, std/cassandra, or a part of a name or sentence.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A function, a method, a type, a module, or a part of a name
    #[arg(add = ArgValueCandidates::new(topics))]
    pub name: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, app: &App) -> Result<()> {
    let host = host(app, Path::new("doc"), Vec::new(), None);
    let entries = reference::entries(&host)?;
    let shown: Vec<&Entry> = match &args.name {
        Some(name) => reference::search(&entries, name),
        None => entries.iter().filter(|e| args.json || e.module != "rhai").collect(),
    };
    if shown.is_empty() {
        let name = args.name.as_deref().unwrap_or_default();
        let error = Error::new(Kind::NotFound, format!("nothing in the manual is called {name}")).exit_with(2);
        let names = entries.iter().flat_map(|e| [e.name.as_str(), e.short()]);
        return Err(match nearest(name, names) {
            Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
            None => error.hint("`opsrun doc` lists everything."),
        });
    }
    if args.json {
        return app.ui.json(&shown);
    }
    let style = app.ui.out_style();
    let whole = shown.iter().all(|e| args.name.as_deref().is_some_and(|n| e.name == n || e.short() == n));
    app.ui.data(&if whole { pages(&shown, style) } else { list(&shown, style) });
    Ok(())
}

/// Each entry in full.
pub fn pages(entries: &[&Entry], style: Style) -> String {
    let mut out = String::new();
    for entry in entries {
        for form in &entry.forms {
            out.push_str(&format!("{}\n", style.bold(form)));
        }
        match entry.module.as_str() {
            "" => {}
            "rhai" => out.push_str(&format!("{}\n", style.dim("part of the language"))),
            module => {
                let alias = module.rsplit('/').next().unwrap_or(module);
                out.push_str(&format!("{}\n", style.dim(&format!("import \"{module}\" as {alias};"))));
            }
        }
        for line in entry.text.lines() {
            out.push_str(format!("  {line}").trim_end());
            out.push('\n');
        }
        for example in &entry.examples {
            out.push('\n');
            for line in example.code.lines() {
                out.push_str(&format!("{}\n", style.cyan(format!("      {line}").trim_end())));
            }
        }
        out.push('\n');
    }
    out.pop();
    out
}

fn list(entries: &[&Entry], style: Style) -> String {
    let width = entries.iter().map(|e| e.name.chars().count()).max().unwrap_or(0).min(36);
    let mut sections: Vec<(String, Vec<&Entry>)> = Vec::new();
    for entry in entries {
        let section = match (entry.module.as_str(), entry.name.split_once(['.', ':'])) {
            ("", Some((of, _))) => of.to_owned(),
            ("", None) if entry.sort == Sort::Type => entry.name.clone(),
            ("", None) => "Always there".to_owned(),
            ("rhai", _) => "Of the language".to_owned(),
            (module, _) => module.to_owned(),
        };
        match sections.iter_mut().find(|(name, _)| *name == section) {
            Some((_, members)) => members.push(entry),
            None => sections.push((section, vec![entry])),
        }
    }
    let mut blocks = Vec::new();
    for (name, members) in sections {
        let mut block = format!("{}\n", style.bold(&name));
        for entry in members {
            block.push_str(format!("  {:width$}  {}", entry.name, entry.summary()).trim_end());
            block.push('\n');
        }
        blocks.push(block);
    }
    blocks.join("\n")
}
