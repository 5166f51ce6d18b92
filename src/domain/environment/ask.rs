//! What an environment's files do not say and must: asked for where somebody is there to answer.

use super::read::{self, own_file};
use super::{Environment, values};
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::domain::config::Source;
use crate::domain::config::tree::{Data, Entry, Node, Place};
use crate::domain::files;
use crate::domain::formation::child;
use crate::domain::yaml_edit::{self, Path as YamlPath, Step};
use serde_json::Value as Json;
use std::path::Path;
use std::sync::Arc;

/// Who can be asked. None: nobody is there, or has an answer.
pub trait Ask {
    fn line(&self, question: &str) -> Result<Option<String>>;
    /// Without showing what is typed.
    fn hidden(&self, question: &str) -> Result<Option<Secret>>;
    /// Tells what was wrong with an answer.
    fn tell(&self, text: &str);
}

/// A wrong answer is asked for again this often.
const ATTEMPTS: usize = 3;

/// Reads an environment, and asks for keys that it must have. The answers become part of its own file, comments kept. Where
/// nobody answers, what is missing is an error that names file and key.
pub fn load(project: &Path, name: &str, ask: &dyn Ask) -> Result<Environment> {
    for (key, question) in read::missing(project, name)? {
        let Some(answer) = ask.line(&format!("{question} (becomes `{key}:` of {}): ", own_file(name)))? else { break };
        let answer = match key {
            "formations" => Json::Array(answer.split([',', ' ']).filter(|w| !w.is_empty()).map(Json::from).collect()),
            _ => Json::String(answer),
        };
        write(project, name, &[(vec![key], answer)])?;
    }
    Environment::load(project, name)
}

/// Asks for values of parameters that have none, for this run; if the person wants it, those that are not hidden become part of
/// the environment's own file.
pub fn parameters(project: &Path, environment: &mut Environment, ask: &dyn Ask) -> Result<()> {
    // Whoever needs it says what is wrong with it.
    let Ok(template) = environment.template() else { return Ok(()) };
    let hidden: Vec<String> = template.hidden_parameters().map(str::to_owned).collect();
    let baked = environment.baked();
    let mut answers: Vec<(String, String)> = Vec::new();
    for parameter in template.parameters() {
        let name = &parameter.key;
        if baked.contains(name) || environment.has_value(parameter)? {
            continue;
        }
        let about = child(&parameter.value, "Description").map(|d| format!(" ({})", d.raw.trim_end_matches('.')));
        let question = format!("Parameter {name}{}: ", about.unwrap_or_default());
        let is_hidden = hidden.contains(name);
        let Some(answer) = answer(parameter, &question, is_hidden, ask)? else { return Ok(()) };
        environment.parameters.push(entry(name, &answer));
        if !is_hidden {
            answers.push((name.clone(), answer));
        }
    }
    if answers.is_empty() {
        return Ok(());
    }
    let file = own_file(&environment.name);
    let Some(word) = ask.line(&format!("Write what is not hidden into {file}? [Y/n] "))? else { return Ok(()) };
    if matches!(word.to_lowercase().as_str(), "" | "y" | "yes") {
        let edits: Vec<_> = answers.iter().map(|(name, text)| (vec!["parameters", name.as_str()], typed(text))).collect();
        write(project, &environment.name, &edits)?;
    }
    Ok(())
}

/// An answer that AWS would take; none where nobody gives one.
fn answer(parameter: &Entry, question: &str, hidden: bool, ask: &dyn Ask) -> Result<Option<String>> {
    for _ in 0..ATTEMPTS {
        let said = if hidden { ask.hidden(question)?.map(|s| s.expose().to_owned()) } else { ask.line(question)? };
        let Some(said) = said else { return Ok(None) };
        match values::refusal(parameter, &said) {
            None if said.is_empty() => ask.tell("it has no default, so that it cannot be empty"),
            None => return Ok(Some(said)),
            Some(expected) => ask.tell(&format!("it must be {expected}")),
        }
    }
    Err(Error::usage(format!("parameter {} was given no value that it can have", parameter.key)).at(parameter.place.location()))
}

/// As if it stood in the file. No error shows a line of it.
fn entry(name: &str, answer: &str) -> Entry {
    let source = Source { name: "(your answer)".to_owned(), dir: std::path::PathBuf::new(), text: String::new() };
    let place = Place { source: Arc::new(source), line: 0, column: 0 };
    let value = Node { data: Data::Text(answer.to_owned()), raw: answer.to_owned(), plain: false, place: place.clone() };
    Entry { key: name.to_owned(), place, written: None, value }
}

/// A number as such: in quotes it would read oddly.
fn typed(text: &str) -> Json {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}

fn write(project: &Path, name: &str, answers: &[(Vec<&str>, Json)]) -> Result<()> {
    let path = project.join(own_file(name));
    let edit = |(keys, value): &(Vec<&str>, Json)| {
        (YamlPath(keys.iter().map(|k| Step::Key((*k).to_owned())).collect()), Some(value.clone()))
    };
    let (text, changed) = yaml_edit::edit(&files::read(&path)?, &answers.iter().map(edit).collect::<Vec<_>>())?;
    if changed { files::write(&path, text.as_bytes(), None) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// A fake: a person who has these answers ready.
    #[derive(Default)]
    struct Person {
        answers: RefCell<VecDeque<String>>,
        heard: RefCell<Vec<String>>,
    }

    impl Person {
        fn with(answers: &[&str]) -> Self {
            Self { answers: RefCell::new(answers.iter().map(|a| (*a).to_owned()).collect()), heard: RefCell::default() }
        }
    }

    impl Ask for Person {
        fn line(&self, question: &str) -> Result<Option<String>> {
            self.heard.borrow_mut().push(question.to_owned());
            Ok(self.answers.borrow_mut().pop_front())
        }

        fn hidden(&self, question: &str) -> Result<Option<Secret>> {
            Ok(self.line(&format!("hidden {question}"))?.map(Secret::new))
        }

        fn tell(&self, text: &str) {
            self.heard.borrow_mut().push(text.to_owned());
        }
    }

    const OWN: &str = "\
Parameters:
  App: { Type: String }
  Size: { Type: Number, MinValue: 1, Description: How large it is. }
  Word: { Type: String, NoEcho: true }
Resources:
  Topic: { Type: 'AWS::SNS::Topic', Properties: { DisplayName: !Sub '${App}${Size}${Word}' } }
";

    fn project(environment: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [("formations/own.yml", OWN), ("environments/staging.yml", environment)] {
            std::fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        dir
    }

    fn load(project: &Path, name: &str, person: &Person) -> Result<Environment> {
        let mut environment = super::load(project, name, person)?;
        parameters(project, &mut environment, person)?;
        Ok(environment)
    }

    fn file(dir: &tempfile::TempDir) -> String {
        std::fs::read_to_string(dir.path().join("environments/staging.yml")).unwrap()
    }

    #[test]
    fn what_is_missing_is_asked_for_and_written() {
        let dir = project("# ours\nregion: eu-central-1 # near\n");
        let person = Person::with(&["shop", "own", "many", "3", "xyzzy-of-a-test", "y"]);
        let environment = load(dir.path(), "staging", &person).unwrap();
        assert_eq!(environment.stack, "shop-staging");
        let values = environment.values(&environment.template().unwrap(), &[]).unwrap();
        let told: Vec<String> = values.iter().map(|v| format!("{}={}", v.name, v.shown())).collect();
        assert_eq!(told, ["App=shop", "Size=3", "Word=***"]);
        assert_eq!(values[2].text(), "xyzzy-of-a-test");
        let heard = person.heard.borrow().join("\n");
        for words in
            ["environments/staging.yml", "Parameter Size (How large it is): ", "it must be a number", "hidden Parameter Word"]
        {
            assert!(heard.contains(words), "no \"{words}\" in {heard}");
        }
        let text = file(&dir);
        assert!(text.starts_with("# ours\nregion: eu-central-1 # near\n") && text.contains("Size: 3"), "{text}");
        assert!(!text.contains("xyzzy"), "{text}");
        // Only what is hidden is asked for again.
        let person = Person::with(&["xyzzy-of-a-test"]);
        load(dir.path(), "staging", &person).unwrap();
        assert_eq!(person.heard.borrow().len(), 1);
    }

    #[test]
    fn where_nobody_answers_it_is_an_error() {
        let dir = project("app: shop\n");
        let error = load(dir.path(), "staging", &Person::default()).unwrap_err();
        assert!(error.message().contains("has no `formations`") && error.details().hints[0].contains("environments/staging.yml"));
        let dir = project("app: shop\nregion: x\nformations: [own]\n");
        let environment = load(dir.path(), "staging", &Person::default()).unwrap();
        let error = environment.values(&environment.template().unwrap(), &[]).unwrap_err();
        assert_eq!(error.message(), "parameter Size has no value");
        // Not written where that is not wanted.
        let before = file(&dir);
        load(dir.path(), "staging", &Person::with(&["3", "an-unlikely-answer", "n"])).unwrap();
        assert_eq!(file(&dir), before);
    }
}
