//! What functions exist, from the engine's own metadata: for suggestions, `opsrun check` and `opsrun doc`.

use super::host::Host;
use rhai::Engine;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One native function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// The module it is called through (`file` of `file::read`); empty for global functions.
    pub module: String,
    pub name: String,
    pub params: Vec<Param>,
    pub returns: String,
    /// Its `///` lines, without the slashes.
    pub doc: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    /// As a script's author calls it: `string`, `map`, `Nodes`, `any`.
    pub kind: String,
}

impl Signature {
    /// `file::read(path: string) -> string`.
    pub fn show(&self) -> String {
        let module = if self.module.is_empty() { String::new() } else { format!("{}::", self.module) };
        let params: Vec<String> = self
            .params
            .iter()
            .map(|p| if p.kind == "any" { p.name.clone() } else { format!("{}: {}", p.name, p.kind) })
            .collect();
        let returns = if self.returns.is_empty() { String::new() } else { format!(" -> {}", self.returns) };
        format!("{module}{}({}){returns}", self.name, params.join(", "))
    }

    /// Whether the other is this function for values of any type.
    fn is_case_of(&self, other: &Self) -> bool {
        let wider = |(own, others): (&Param, &Param)| own.kind == others.kind || others.kind == "any";
        (&self.module, &self.name, self.params.len()) == (&other.module, &other.name, other.params.len())
            && self.params.iter().zip(&other.params).all(wider)
            && self.params.iter().zip(&other.params).any(|(own, others)| own.kind != others.kind)
    }
}

/// All native functions, and the names of all types.
#[derive(Debug, Default)]
pub struct Signatures {
    pub functions: Vec<Signature>,
    /// Display name and `///` lines of each registered type.
    pub types: BTreeMap<String, Vec<String>>,
}

/// The shape of Rhai's metadata, as far as it is used.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    functions: Vec<MetaFunction>,
    modules: BTreeMap<String, Meta>,
    custom_types: Vec<MetaType>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaFunction {
    name: String,
    num_params: usize,
    #[serde(default)]
    params: Vec<MetaParam>,
    #[serde(default)]
    return_type: String,
    #[serde(default)]
    doc_comments: Vec<String>,
}

#[derive(Deserialize)]
struct MetaParam {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaType {
    display_name: String,
    #[serde(default)]
    doc_comments: Vec<String>,
}

impl Signatures {
    /// Those of the engine, read once in a run: only errors and manuals need them.
    pub fn of(engine: &Engine, host: &Host) -> Arc<Self> {
        host.signatures(|| Self::read(engine))
    }

    pub fn read(engine: &Engine) -> Self {
        Self::from_engine(engine, true)
    }

    /// Without the language's own functions.
    pub fn read_own(engine: &Engine) -> Self {
        Self::from_engine(engine, false)
    }

    fn from_engine(engine: &Engine, with_language: bool) -> Self {
        let meta = engine.gen_fn_metadata_to_json(with_language).ok().and_then(|json| serde_json::from_str::<Meta>(&json).ok());
        let mut all = Self::default();
        all.collect("", meta.unwrap_or_default());
        // By all that is shown: Rhai's tables have another order in each run.
        all.functions.sort_by_cached_key(|f| (f.module.clone(), f.name.clone(), f.params.len(), f.show()));
        all
    }

    fn collect(&mut self, module: &str, meta: Meta) {
        for t in meta.custom_types {
            self.types.insert(t.display_name, strip(&t.doc_comments));
        }
        for f in meta.functions {
            let params = (0..f.num_params)
                .map(|i| {
                    let given = f.params.get(i);
                    Param {
                        name: given.and_then(|p| p.name.clone()).unwrap_or_else(|| format!("x{i}")),
                        kind: given.and_then(|p| p.kind.as_deref()).map_or_else(|| "any".to_owned(), kind_name),
                    }
                })
                .collect();
            let returns = returned(&f.return_type);
            self.functions.push(Signature {
                module: module.to_owned(),
                name: f.name,
                params,
                returns,
                doc: strip(&f.doc_comments),
            });
        }
        for (name, inner) in meta.modules {
            let path = if module.is_empty() { name } else { format!("{module}::{name}") };
            self.collect(&path, inner);
        }
    }

    /// The functions of a name (`read`, or `file::read`), with their modules.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Signature> {
        let (module, name) = name.rsplit_once("::").unwrap_or(("", name));
        self.functions.iter().filter(move |f| f.name == name && f.module == module)
    }

    /// Whether a function of that name and number of parameters takes any value first.
    pub fn takes_any(&self, name: &str, params: usize) -> bool {
        self.named(name).any(|f| f.params.len() == params && f.params.first().is_some_and(|p| p.kind == "any"))
    }

    /// How a function is called: forms that differ only by an option map at the end are one.
    pub fn forms<'a>(overloads: impl Iterator<Item = &'a Signature>) -> Vec<String> {
        let overloads: Vec<&Signature> = overloads.collect();
        let mut forms: Vec<(String, Vec<Param>)> = Vec::new();
        for f in overloads.iter().filter(|f| !overloads.iter().any(|other| f.is_case_of(other))) {
            let optional = f.params.last().filter(|p| p.kind == "map");
            let short = optional.map(|_| &f.params[..f.params.len() - 1]);
            if let Some((form, params)) = forms.iter_mut().find(|(_, params)| short.is_some_and(|s| *s == params[..])) {
                let (head, tail) = form.split_once(')').unwrap_or((form, ""));
                let comma = if params.is_empty() { "" } else { ", " };
                let optional = optional.map(|p| format!("{}: {}", p.name, p.kind)).unwrap_or_default();
                *form = format!("{head}[{comma}{optional}]){tail}");
                continue;
            }
            let shown = f.show();
            if !forms.iter().any(|(form, _)| *form == shown) {
                forms.push((shown, f.params.clone()));
            }
        }
        forms.into_iter().map(|(form, _)| form).collect()
    }

    /// The properties that values of a type have.
    pub fn properties(&self, kind: &str) -> Vec<&str> {
        let getters = self.functions.iter().filter(|f| f.params.first().is_some_and(|p| p.kind == kind));
        getters.filter_map(|f| f.name.strip_prefix("get$")).collect()
    }

    /// The names of all functions that are not only methods of a type of ours.
    pub fn names_but_methods(&self) -> Vec<String> {
        let of_ours = |f: &Signature| f.params.first().is_some_and(|p| super::api::TYPES.contains(&p.kind.as_str()));
        let free: Vec<Signature> = self.functions.iter().filter(|f| !of_ours(f)).cloned().collect();
        Self { functions: free, types: BTreeMap::new() }.names()
    }

    /// The names of all functions a script can write.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .functions
            .iter()
            .filter(|f| is_word(&f.name))
            .map(|f| if f.module.is_empty() { f.name.clone() } else { format!("{}::{}", f.module, f.name) })
            .collect();
        names.dedup();
        names
    }
}

/// Whether a function's name is one that is called by name, and no operator or getter.
pub fn is_word(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// `///` lines without their slashes and the space after them.
pub fn strip(comments: &[String]) -> Vec<String> {
    let lines = comments.iter().flat_map(|c| c.lines());
    lines.map(|l| l.strip_prefix("///").unwrap_or(l)).map(|l| l.strip_prefix(' ').unwrap_or(l).trim_end().to_owned()).collect()
}

fn returned(kind: &str) -> String {
    let kind = kind.trim();
    let inner = ["ScriptResult<", "RhaiResultOf<", "Result<"].iter().find_map(|p| kind.strip_prefix(p));
    let kind = match inner {
        Some(rest) => rest.strip_suffix('>').unwrap_or(rest).split(", Box<").next().unwrap_or(rest),
        None if kind == "RhaiResult" => "Dynamic",
        None => kind,
    };
    if kind == "()" || kind.is_empty() { String::new() } else { kind_name(kind) }
}

/// What a script's author calls a Rust type.
pub fn kind_name(kind: &str) -> String {
    let kind = kind.trim().trim_start_matches("&mut ").trim_start_matches('&').trim();
    let name = match kind {
        "INT" | "i64" | "int" => "int",
        "FLOAT" | "f64" | "float" => "float",
        "ImmutableString" | "str" | "String" | "string" | "str | ImmutableString | String" | "ImmutableString | String" => {
            "string"
        }
        "Dynamic" | "?" | "_" | "" | "T" => "any",
        "Array" | "array" => "array",
        "Map" | "map" => "map",
        "Blob" | "blob" => "blob",
        "FnPtr" | "Fn" => "function",
        "Instant" | "timestamp" => "timestamp",
        "ExclusiveRange" | "InclusiveRange" | "Range<i64>" | "RangeInclusive<i64>" => "range",
        // Rust's names for types of ours.
        "NodeSet" => "Nodes",
        "JobSet" => "Jobs",
        "Asked" => "Outcome",
        "Handle" => "Deployment",
        other => other.rsplit("::").next().unwrap_or(other),
    };
    name.to_owned()
}
