//! YAML text as a tree in which every value knows the file and line it came from.

use crate::base::error::{Error, Location, Result};
use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Deeper nesting than any config needs; keeps a hostile file from exhausting the stack.
const MAX_DEPTH: usize = 64;
/// More values than any config needs; keeps aliases of aliases from filling the memory.
const MAX_NODES: usize = 100_000;

/// One configuration text and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// As the user named it; errors say this.
    pub name: String,
    /// Relative paths in the text are relative to this.
    pub dir: PathBuf,
    pub text: String,
}

/// Where a value stands.
#[derive(Clone)]
pub struct Place {
    pub source: Arc<Source>,
    pub line: usize,
    pub column: usize,
}

impl Place {
    fn new(source: &Arc<Source>, marker: Marker) -> Self {
        Self { source: Arc::clone(source), line: marker.line(), column: marker.col() + 1 }
    }

    /// Returns the location to attach to an error. Lines that may hold a secret come without their text.
    pub fn location(&self) -> Location {
        let text = &self.source.text;
        let source = text.lines().nth(self.line.saturating_sub(1)).filter(|_| !is_sensitive(text, self.line));
        Location { file: self.source.name.clone(), line: self.line, column: self.column, source: source.map(str::to_owned) }
    }
}

/// `configs/a.yml:3`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source.name, self.line)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}:{}", self.column)
    }
}

/// Whether line `line` may show a secret: it names one, or it stands under a top-level `secrets:`.
fn is_sensitive(text: &str, line: usize) -> bool {
    const WORDS: [&str; 4] = ["secret", "access_key", "password", "token"];
    let names_one = |l: &str| WORDS.iter().any(|w| l.to_ascii_lowercase().contains(w));
    let mut owner = "";
    for current in text.lines().take(line) {
        if !current.starts_with([' ', '\t', '#', '-', '}', ']']) && !current.trim().is_empty() {
            owner = current;
        }
    }
    names_one(owner) || text.lines().nth(line.saturating_sub(1)).is_some_and(names_one)
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub data: Data,
    /// A scalar as it was written, before YAML took `007` for a number.
    pub raw: String,
    /// A scalar without quotes, on one line.
    pub plain: bool,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub enum Data {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// `!required`: to be given elsewhere, with what it is for.
    Required(String),
    /// `!Ref name`: a tag of somebody else's language, with what it stands before.
    Tagged(String, Box<Node>),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value` of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub place: Place,
    /// What the user wrote, where that is another spelling of this key: `server_count` for `groups.server.count`.
    pub written: Option<String>,
    pub value: Node,
}

/// Values are equal when they say the same: neither place nor order of keys matters.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (&self.data, &other.data) {
            (Data::Null, Data::Null) => true,
            (Data::Bool(a), Data::Bool(b)) => a == b,
            (Data::Int(a), Data::Int(b)) => a == b,
            (Data::Float(a), Data::Float(b)) => a.to_bits() == b.to_bits(),
            (Data::Text(a), Data::Text(b)) | (Data::Required(a), Data::Required(b)) => a == b,
            (Data::Tagged(a, x), Data::Tagged(b, y)) => a == b && x == y,
            (Data::List(a), Data::List(b)) => a == b,
            (Data::Map(a), Data::Map(b)) => {
                a.len() == b.len() && a.iter().all(|e| b.iter().any(|o| o.key == e.key && o.value == e.value))
            }
            _ => false,
        }
    }
}

impl Node {
    pub fn map(&self) -> Option<&[Entry]> {
        if let Data::Map(entries) = &self.data { Some(entries) } else { None }
    }

    /// Returns what stands here, for "…, not the text "three"".
    pub fn describe(&self) -> String {
        const SHOWN: usize = 60;
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Required(_) => "!required".to_owned(),
            Data::Bool(_) | Data::Int(_) | Data::Float(_) => self.raw.clone(),
            Data::Text(text) if text.chars().count() > SHOWN => {
                format!("the text \"{}…\"", text.chars().take(SHOWN).collect::<String>().escape_debug())
            }
            Data::Text(text) => format!("the text \"{}\"", text.escape_debug()),
            Data::Tagged(tag, _) => format!("!{tag}"),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map".to_owned(),
        }
    }

    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.data {
            Data::Null | Data::Required(_) => Value::Null,
            Data::Bool(b) => Value::Bool(*b),
            Data::Int(i) => (*i).into(),
            Data::Float(f) => serde_json::Number::from_f64(*f).map_or_else(|| Value::String(self.raw.clone()), Value::Number),
            Data::Text(text) => Value::String(text.clone()),
            Data::Tagged(_, value) => value.to_json(),
            Data::List(items) => items.iter().map(Self::to_json).collect(),
            Data::Map(entries) => Value::Object(entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect()),
        }
    }

    fn tagged(self, tag: Option<String>) -> Self {
        let Some(tag) = tag else { return self };
        Self { place: self.place.clone(), raw: self.raw.clone(), plain: false, data: Data::Tagged(tag, Box::new(self)) }
    }

    fn size(&self) -> usize {
        1 + match &self.data {
            Data::Tagged(_, value) => value.size(),
            Data::List(items) => items.iter().map(Self::size).sum(),
            Data::Map(entries) => entries.iter().map(|e| e.value.size()).sum(),
            _ => 0,
        }
    }
}

/// Reads one YAML document whose top is a map. An empty text is an empty map.
pub fn parse(source: &Arc<Source>) -> Result<Node> {
    read(source, false)
}

/// The same, with local tags (`!Ref`) kept.
pub fn parse_tagged(source: &Arc<Source>) -> Result<Node> {
    read(source, true)
}

fn read(source: &Arc<Source>, tags: bool) -> Result<Node> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let mut builder = Builder { source, tags, root: None, open: Vec::new(), anchors: HashMap::new(), nodes: 0, documents: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| syntax_error(source, *e.marker(), e.info()))?;
        builder.take(event, span)?;
    }
    let root = builder.root.unwrap_or_else(|| Node {
        data: Data::Null,
        raw: String::new(),
        plain: false,
        place: Place { source: Arc::clone(source), line: 1, column: 1 },
    });
    match root.data {
        Data::Map(_) => Ok(root),
        Data::Null => Ok(Node { data: Data::Map(Vec::new()), ..root }),
        _ => Err(Error::config(format!("{} must hold `key: value` lines, not {}", source.name, root.describe()))
            .at(root.place.location())),
    }
}

fn syntax_error(source: &Arc<Source>, marker: Marker, info: &str) -> Error {
    let place = Place::new(source, marker);
    let has_tab =
        source.text.lines().nth(place.line.saturating_sub(1)).is_some_and(|l| l.trim_start_matches(' ').starts_with('\t'));
    let error = Error::config(format!("{} is not valid YAML: {info}", source.name)).at(place.location());
    if has_tab { error.hint("YAML is indented with spaces; this line begins with a tab.") } else { error }
}

/// A list or map whose end has not come yet.
struct Open {
    anchor: usize,
    place: Place,
    tag: Option<String>,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Place)> },
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    tags: bool,
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    documents: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<()> {
        let place = Place::new(self.source, span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Error::config(format!("{} holds more than one YAML document", self.source.name))
                        .at(place.location())
                        .hint("Remove the `---` line, or put the second part into a file of its own."));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let raw = text.clone().into_owned();
                let plain = style == ScalarStyle::Plain && !raw.contains('\n');
                let tagged = self.tag(tag.as_deref());
                if tagged.is_none() && tag.as_ref().is_some_and(|t| t.handle == "!" && t.suffix == "required") {
                    let what = if raw == "~" { String::new() } else { raw.clone() };
                    return self.complete(anchor, Node { data: Data::Required(what), raw, plain, place });
                }
                let Some(scalar) = Scalar::parse_from_cow_and_metadata(text, style, tag.as_ref()) else {
                    return Err(Error::config(format!("\"{raw}\" does not fit its tag")).at(place.location()));
                };
                let data = match scalar {
                    Scalar::Null => Data::Null,
                    Scalar::Boolean(b) => Data::Bool(b),
                    Scalar::Integer(i) => Data::Int(i),
                    Scalar::FloatingPoint(f) => Data::Float(f.into_inner()),
                    Scalar::String(s) => Data::Text(s.into_owned()),
                };
                self.complete(anchor, Node { data, raw, plain, place }.tagged(tagged))
            }
            Event::SequenceStart(anchor, tag) => self.begin(anchor, place, tag.as_deref(), Kind::List(Vec::new())),
            Event::MappingStart(anchor, tag) => {
                self.begin(anchor, place, tag.as_deref(), Kind::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let data = match open.kind {
                    Kind::List(items) => Data::List(items),
                    Kind::Map { entries, .. } => Data::Map(entries),
                };
                let node = Node { data, raw: String::new(), plain: false, place: open.place };
                self.complete(open.anchor, node.tagged(open.tag))
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Error::config("this alias stands inside the value it refers to").at(place.location()));
                };
                self.count(node.size(), &place)?;
                self.complete(0, Node { place, ..node })
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    /// The name of a tag that is kept.
    fn tag(&self, tag: Option<&Tag>) -> Option<String> {
        tag.filter(|t| self.tags && t.handle == "!" && !t.suffix.is_empty()).map(|t| t.suffix.clone())
    }

    fn begin(&mut self, anchor: usize, place: Place, tag: Option<&Tag>, kind: Kind) -> Result<()> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Error::config(format!("more than {MAX_DEPTH} levels of nesting")).at(place.location()));
        }
        let tag = self.tag(tag);
        self.open.push(Open { anchor, place, tag, kind });
        Ok(())
    }

    fn count(&mut self, more: usize, place: &Place) -> Result<()> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MAX_NODES {
            return Err(Error::config(format!("more than {MAX_NODES} values")).at(place.location()));
        }
        Ok(())
    }

    /// A value is whole: it becomes the root, a list's item, a map's key, or the value of the key before it.
    fn complete(&mut self, anchor: usize, node: Node) -> Result<()> {
        self.count(1, &node.place)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|o| &mut o.kind) {
            None => self.root = Some(node),
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Map { entries, key: pending }) => match pending.take() {
                Some((key, place)) => entries.push(Entry { key, place, written: None, value: node }),
                None => *pending = Some(key_of(node, entries)?),
            },
        }
        Ok(())
    }
}

fn key_of(node: Node, before: &[Entry]) -> Result<(String, Place)> {
    let problem = match &node.data {
        Data::List(_) | Data::Map(_) => Some(format!("a key must be a word, not {}", node.describe())),
        _ if node.raw.is_empty() => Some("a key is missing before the colon".to_owned()),
        _ if node.raw == "<<" => Some("merge keys (`<<`) are not supported: write the keys out".to_owned()),
        _ => before.iter().find(|e| e.key == node.raw).map(|e| {
            let file = &e.place.source.name;
            format!("`{}` is written twice in {file}: in lines {} and {}", e.key, e.place.line, node.place.line)
        }),
    };
    match problem {
        Some(message) => Err(Error::config(message).at(node.place.location())),
        None => Ok((node.raw, node.place)),
    }
}
