//! What an image is made of, as a hash: the same content has the same name, and is not baked twice.

use crate::base::checksum::sha256;
use crate::base::error::Result;
use crate::domain::role::{self, Asked, Role};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

/// Of the hash's own making: a change of it is another image.
const FORMAT: u32 = 1;
/// The digits of the hash that are in a name.
const DIGITS: usize = 12;
/// The most that fits: the deployment in which it is baked is called `bake-` and this, in at most 64 letters.
const LONGEST: usize = 59;
const APP: usize = 20;

/// What an image is made from, resolved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Base {
    /// `ami-…`, or the name of a base system or an image of provider `machine`.
    pub id: String,
    /// `x86_64`, `arm64`
    pub architecture: String,
    /// As the user said it.
    pub wanted: String,
}

/// What goes into an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Recipe {
    pub app: String,
    /// As asked for, in order.
    pub roles: Vec<String>,
    pub base: Base,
    /// Over all that makes a difference: SHA-256.
    pub hash: String,
}

impl Recipe {
    /// `layers`: variables, those of the group last. Of these only such count as the roles have or speak of.
    pub fn new(project: &Path, app: &str, roles: &[String], layers: &[&Map<String, Value>], base: Base) -> Result<Self> {
        let asked: Vec<Asked> = roles.iter().map(Asked::by_name).collect();
        let closure = role::in_order(project, &asked)?;
        let parts = closure.iter().map(|role| part(role, layers)).collect::<Result<Vec<_>>>()?;
        let all = json!({ "format": FORMAT, "roles": parts, "base": base.id, "architecture": base.architecture });
        let hash = sha256(all.to_string());
        Ok(Self { app: app.to_owned(), roles: roles.to_vec(), base, hash })
    }

    /// The hash as names and tags have it.
    pub fn short(&self) -> &str {
        self.hash.get(..DIGITS).unwrap_or(&self.hash)
    }

    /// The roles in one word.
    pub fn role(&self) -> String {
        self.roles.join("_")
    }

    /// `shop-nginx-0a1b2c3d4e5f`
    pub fn name(&self) -> String {
        let app = cut(&self.app, APP);
        let room = LONGEST - DIGITS - 2 - app.len();
        format!("{app}-{}-{}", cut(&self.role(), room), self.short())
    }

    /// The deployment in which it is baked.
    pub fn deployment(&self) -> String {
        format!("bake-{}", self.name())
    }
}

/// Names have few sorts of letters, and no end of their own that looks like a blank.
fn cut(text: &str, longest: usize) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' };
    let text: String = text.chars().map(letter).take(longest).collect();
    let text = text.trim_matches('-');
    if text.is_empty() { "image".to_owned() } else { text.to_owned() }
}

/// A role's files and what its variables are. Of a secret its name counts, as it stands where the variables do.
fn part(role: &Arc<Role>, layers: &[&Map<String, Value>]) -> Result<Value> {
    let files = role.files()?;
    let mut vars = role.vars(layers, &[], &[])?;
    vars.retain(|name, _| role.has_variable(name) || files.iter().any(|(_, content)| speaks_of(content, name)));
    let sums: Map<String, Value> = files.iter().map(|(path, content)| (path.clone(), sha256(content).into())).collect();
    Ok(json!({ "name": role.name, "files": sums, "vars": sorted(&Value::Object(vars)) }))
}

fn speaks_of(content: &[u8], word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    String::from_utf8_lossy(content).split(|c| !part_of_word(c)).any(|w| w == word)
}

/// The order in which keys are written makes no difference.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lab(tempfile::TempDir);

    impl Lab {
        fn new() -> Self {
            let lab = Self(tempfile::tempdir().unwrap());
            lab.write("roles/base/main.rhai", "fn apply(nodes, vars) {}");
            lab.write("roles/web/main.rhai", "fn apply(nodes, vars) { nodes.sh(vars.said) }");
            lab.write("roles/web/requires", "base\n");
            lab.write("roles/web/defaults.yml", "port: 80\npassword: none\n");
            lab
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn hash(&self, vars: Value, group: Value, base: &str) -> String {
            let (Value::Object(vars), Value::Object(group)) = (vars, group) else { panic!() };
            let base = Base { id: base.to_owned(), architecture: "x86_64".to_owned(), wanted: "any".to_owned() };
            Recipe::new(self.0.path(), "shop", &["web".to_owned()], &[&vars, &group], base).unwrap().hash
        }
    }

    #[test]
    fn all_that_makes_a_difference_counts_and_nothing_else() {
        let lab = Lab::new();
        let plain = || lab.hash(json!({}), json!({}), "ami-1");
        let first = plain();
        assert_eq!(first, plain());
        assert_ne!(first, lab.hash(json!({}), json!({}), "ami-2"));
        assert_ne!(first, lab.hash(json!({ "port": 81 }), json!({}), "ami-1"));
        assert_eq!(first, lab.hash(json!({ "port": 81 }), json!({ "port": 80 }), "ami-1"), "the group's goes first");
        assert_eq!(first, lab.hash(json!({ "database_size": 20 }), json!({}), "ami-1"), "no role speaks of it");
        assert_ne!(first, lab.hash(json!({ "said": "hi" }), json!({}), "ami-1"), "it is no default, but the script uses it");
        assert_eq!(
            lab.hash(json!({ "said": { "a": 1, "b": 2 } }), json!({}), "ami-1"),
            lab.hash(json!({ "said": { "b": 2, "a": 1 } }), json!({}), "ami-1")
        );
        lab.write("roles/base/files/motd", "x");
        let with_file = plain();
        assert_ne!(first, with_file, "a file of a role that is required");
        lab.write("roles/base/files/motd", "y");
        assert_ne!(with_file, plain());
    }

    #[test]
    fn secrets_count_by_their_names() {
        let lab = Lab::new();
        let named = |name: &str| lab.hash(json!({ "password": { "secret": name } }), json!({}), "ami-1");
        assert_eq!(named("db"), named("db"));
        assert_ne!(named("db"), named("other"));
    }

    #[test]
    fn names_fit_everywhere() {
        let base = Base { id: "ami-1".to_owned(), architecture: "arm64".to_owned(), wanted: "ami-1".to_owned() };
        let of = |app: &str, roles: &[&str]| Recipe {
            app: app.to_owned(),
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
            base: base.clone(),
            hash: sha256("x"),
        };
        let name = of("shop", &["base", "nginx"]).name();
        assert_eq!(name, "shop-base_nginx-2d711642b726");
        let long = of(&"shop of a long name ".repeat(3), &["r".repeat(64).as_str(), "s"]);
        assert!(long.deployment().len() <= 64 && long.name().ends_with(long.short()), "{}", long.name());
        crate::transport::state::check_name(&long.deployment()).unwrap();
        assert_eq!(of("***", &["a"]).name(), "image-a-2d711642b726");
    }
}
