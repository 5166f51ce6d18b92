//! A YAML document as a tree that knows which bytes every part stands in.

use crate::base::error::{Error, Result};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Deeper nesting than this is refused, so that no document exhausts the stack.
const MAX_DEPTH: usize = 100;

/// A whole document, of which there is exactly one in the text.
#[derive(Debug)]
pub struct Document {
    pub root: Option<Node>,
    /// Where a new last line of the document goes.
    pub end: usize,
}

/// A value and where it stands. Positions are bytes of the text.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    /// Counted from 1.
    pub line: usize,
    /// Right behind the `:` or `-` that this is the value of.
    pub slot: usize,
    /// The first byte, its `&anchor` and `!tag` included.
    pub start: usize,
    /// Behind the last byte that matters.
    pub end: usize,
    /// Behind the last byte that the parser took: includes the blank lines after a block scalar.
    pub full_end: usize,
    /// Its last scalar is a `|+`: the line breaks up to `full_end` are part of it.
    pub keeps: bool,
    /// The parser's number of its anchor; 0 for none.
    pub anchor: usize,
    pub tag: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Scalar { text: String, style: Style },
    Alias(usize),
    Seq { items: Vec<Item>, flow: bool },
    Map { entries: Vec<Entry>, layout: Layout },
}

/// How a scalar is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Plain,
    Single,
    Double,
    /// `|` or `>`.
    Block,
}

/// How a map is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    Block,
    Flow,
    /// `[a: 1]`: a map without braces.
    Pair,
}

#[derive(Clone, Debug)]
pub struct Item {
    /// Where its `-` is, or where it starts in `[…]`.
    pub start: usize,
    pub value: Node,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Node,
    /// False for `a` in `{a, b: 1}`.
    pub colon: bool,
    pub value: Node,
}

impl Node {
    /// Its text when it is a scalar (any style, any type).
    pub fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Nothing is written: `key:`.
    pub fn is_blank(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, style: Style::Plain } if text.is_empty())
    }

    pub fn is_block_collection(&self) -> bool {
        matches!(&self.kind, Kind::Seq { flow: false, .. } | Kind::Map { layout: Layout::Block, .. })
    }

    pub fn is_flow_collection(&self) -> bool {
        matches!(&self.kind, Kind::Seq { flow: true, .. } | Kind::Map { layout: Layout::Flow | Layout::Pair, .. })
    }
}

/// Parses text that holds one document, or none.
pub fn parse(text: &str) -> Result<Document> {
    let offsets: Option<Vec<usize>> =
        if text.is_ascii() { None } else { Some(text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()) };
    let mut builder = Builder { text, offsets, parser: Parser::new_from_str(text) };
    builder.document()
}

struct Builder<'a> {
    text: &'a str,
    /// Byte offset of each character; none when they are the same.
    offsets: Option<Vec<usize>>,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(e)) => Err(Error::config(format!("not valid YAML: {} (line {})", e.info(), e.marker().line()))),
            None => Err(Error::internal("the YAML parser ended early")),
        }
    }

    fn byte(&self, char_index: usize) -> usize {
        match &self.offsets {
            Some(offsets) => offsets.get(char_index).copied().unwrap_or(self.text.len()),
            None => char_index.min(self.text.len()),
        }
    }

    fn document(&mut self) -> Result<Document> {
        let mut root = None;
        let mut end = self.text.len();
        let mut seen = false;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if seen => {
                    return Err(Error::config(format!("a second document starts at line {}", span.start.line()))
                        .hint("Only files with a single YAML document can be edited."));
                }
                Event::DocumentStart(_) => {
                    seen = true;
                    let first = self.next()?;
                    let slot = if span.is_empty() { self.byte(span.start.index()) } else { self.byte(span.end.index()) };
                    let mut node = self.node(first, 0)?;
                    self.place(&mut node, slot, true)?;
                    root = Some(node);
                }
                Event::DocumentEnd if !span.is_empty() => end = self.byte(span.start.index()),
                _ => {}
            }
        }
        Ok(Document { root, end })
    }

    /// Takes one value's events. Positions that need the text around it are filled in by `place`.
    fn node(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Result<Node> {
        if depth > MAX_DEPTH {
            return Err(Error::config(format!("values are nested more than {MAX_DEPTH} deep (line {})", span.start.line())));
        }
        let (start, mut end) = (self.byte(span.start.index()), self.byte(span.end.index()));
        let tag_text = |tag: Option<std::borrow::Cow<'_, saphyr_parser::Tag>>| tag.map(|t| format!("{}{}", t.handle, t.suffix));
        let (kind, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::Single,
                    ScalarStyle::DoubleQuoted => Style::Double,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                if text.is_empty() && style == Style::Plain && anchor == 0 && tag.is_none() {
                    end = start;
                }
                (Kind::Scalar { text: text.into_owned(), style }, anchor, tag_text(tag))
            }
            Event::Alias(anchor) => (Kind::Alias(anchor), 0, None),
            Event::SequenceStart(anchor, tag) => {
                let flow = self.text[start..].starts_with('[') && end > start;
                let mut items = Vec::new();
                loop {
                    let next = self.next()?;
                    if next.0 == Event::SequenceEnd {
                        end = self.byte(next.1.end.index());
                        break;
                    }
                    items.push(Item { start: 0, value: self.node(next, depth + 1)? });
                }
                (Kind::Seq { items, flow }, anchor, tag_text(tag))
            }
            Event::MappingStart(anchor, tag) => {
                let flow = self.text[start..].starts_with('{') && end > start;
                let mut entries = Vec::new();
                loop {
                    let next = self.next()?;
                    if next.0 == Event::MappingEnd {
                        end = self.byte(next.1.end.index());
                        break;
                    }
                    let key = self.node(next, depth + 1)?;
                    let value = self.next()?;
                    entries.push(Entry { key, colon: true, value: self.node(value, depth + 1)? });
                }
                (Kind::Map { entries, layout: if flow { Layout::Flow } else { Layout::Block } }, anchor, tag_text(tag))
            }
            other => return Err(Error::internal(format!("unexpected YAML event {other:?}"))),
        };
        Ok(Node { kind, line: span.start.line(), slot: start, start, end, full_end: end, keeps: false, anchor, tag })
    }

    /// Fills in the positions of a value that is written behind `slot`, and of all below it.
    fn place(&self, node: &mut Node, slot: usize, block: bool) -> Result<()> {
        node.slot = slot;
        if node.is_blank() && node.anchor == 0 && node.tag.is_none() {
            (node.start, node.end, node.full_end) = (slot, slot, slot);
            return Ok(());
        }
        let content = node.start;
        node.start = self.skip(slot).min(content);
        let lost = |what: &str, line: usize| Error::config(format!("cannot find the {what} of the YAML value at line {line}"));
        match &mut node.kind {
            Kind::Alias(_) => {}
            Kind::Scalar { style, .. } => {
                if *style == Style::Block {
                    let header = &self.text[node.start..line_end(self.text, node.start)];
                    let indicators = &header[header.find(['|', '>']).unwrap_or(0)..];
                    node.keeps = indicators.split_whitespace().next().is_some_and(|word| word.contains('+'));
                    node.end = node.start + self.text[node.start..node.end.max(node.start)].trim_end().len();
                }
            }
            Kind::Seq { items, flow: false } => {
                let mut at = self.skip_properties(slot);
                for item in items {
                    at = self.skip(at);
                    if !self.text[at..].starts_with('-') {
                        return Err(lost("dash", item.value.line));
                    }
                    item.start = at;
                    self.place(&mut item.value, at + 1, true)?;
                    at = item.value.full_end;
                    (node.end, node.full_end, node.keeps) = (item.value.end, item.value.full_end, item.value.keeps);
                }
            }
            Kind::Seq { items, flow: true } => {
                let mut at = content + 1;
                for item in items {
                    item.start = self.skip(at);
                    if self.text[item.start..].starts_with(',') {
                        item.start = self.skip(item.start + 1);
                    }
                    let start = item.start;
                    self.place(&mut item.value, start, false)?;
                    at = item.value.full_end;
                }
            }
            Kind::Map { entries, layout } => {
                if *layout == Layout::Block && !block {
                    *layout = Layout::Pair;
                }
                let inner_block = *layout == Layout::Block;
                for entry in entries {
                    let key_slot = entry.key.start;
                    self.place(&mut entry.key, key_slot, inner_block)?;
                    let at = self.skip(entry.key.full_end);
                    entry.colon = self.text[at..].starts_with(':');
                    if !entry.colon && inner_block {
                        return Err(lost("colon", entry.key.line));
                    }
                    let value_slot = if entry.colon { at + 1 } else { entry.key.end };
                    self.place(&mut entry.value, value_slot, inner_block)?;
                    if *layout != Layout::Flow {
                        let value = &entry.value;
                        (node.end, node.full_end, node.keeps) = (value.end, value.full_end, value.keeps);
                    }
                }
            }
        }
        Ok(())
    }

    /// The next byte that is neither white space nor part of a comment.
    fn skip(&self, from: usize) -> usize {
        skip_space(self.text, from)
    }

    /// As `skip`, and past `&anchor` and `!tag`.
    fn skip_properties(&self, from: usize) -> usize {
        let mut at = self.skip(from);
        while self.text[at..].starts_with(['&', '!']) {
            at += self.text[at..].find(char::is_whitespace).unwrap_or(self.text.len() - at);
            at = self.skip(at);
        }
        at
    }
}

/// The next byte from here on that is neither white space nor part of a comment.
pub fn skip_space(text: &str, from: usize) -> usize {
    let mut at = from.min(text.len());
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}']).len();
        if !text[at..].starts_with('#') {
            return at;
        }
        at = line_end(text, at);
    }
}

/// Where the line that holds this byte ends, before its line break.
pub fn line_end(text: &str, at: usize) -> usize {
    let end = memchr::memchr(b'\n', &text.as_bytes()[at..]).map_or(text.len(), |n| at + n);
    if end > at && text.as_bytes()[end - 1] == b'\r' { end - 1 } else { end }
}

/// Where the line that holds this byte starts.
pub fn line_start(text: &str, at: usize) -> usize {
    memchr::memrchr(b'\n', &text.as_bytes()[..at]).map_or(0, |n| n + 1)
}

/// Where the line after the one that holds this byte starts.
pub fn next_line(text: &str, at: usize) -> usize {
    memchr::memchr(b'\n', &text.as_bytes()[at..]).map_or(text.len(), |n| at + n + 1)
}
