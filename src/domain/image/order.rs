//! What is to be baked: which roles on which base, and the config of the machine that it is done on.

use super::Recipe;
use super::recipe::Base;
use crate::base::error::{Error, IoResultExt, Result};
use crate::base::project::Project;
use crate::base::suggest::did_you_mean;
use crate::base::units;
use crate::domain::config::{Config, Group, ProviderKind};
use crate::domain::deployment::{Inputs, Origin};
use crate::domain::environment::{self, Environment};
use crate::transport::provider::aws::images::{Choice, PARAMETER};
use serde_json::{Value, json};
use std::path::PathBuf;

/// How long the machine of a bake may be left, when nothing else is said.
const EXPIRES: &str = "6h";
/// What is baked from when an environment does not say: Debian's own parameters.
const DEBIAN: &str = "/aws/service/debian/release/12/latest/";
pub const DEBIAN_USER: &str = "admin";
/// Options of a group that matter to the machine of a bake.
const OPTIONS: [&str; 6] = ["instance_type", "volume_type", "volume_size", "instance_profile", "cpus", "memory"];

/// One image to be made.
#[derive(Clone, Debug)]
pub struct Order {
    pub app: String,
    /// The group whose image it is.
    pub group: String,
    pub roles: Vec<String>,
    pub base: Wanted,
    /// One group, of one machine, which has no base yet.
    config: Config,
    origin: Origin,
}

/// What is baked from, as the user says it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Wanted {
    Ami(Choice),
    /// An image of provider `machine`, or its base system.
    Layer(Option<String>),
}

impl Wanted {
    /// As tags have it.
    pub fn words(&self) -> String {
        match self {
            Self::Ami(choice) => choice.to_string(),
            Self::Layer(name) => name.clone().unwrap_or_else(|| "debian".to_owned()),
        }
    }
}

impl Order {
    /// The image of a group of an environment; with `roles`, one of these alone.
    pub fn of_environment(environment: &Environment, group: &environment::Group, roles: Option<&[String]>) -> Result<Self> {
        let mut config = environment.config("groups: {}")?;
        let kind = group.instance_type.clone();
        let arm = kind.as_deref().is_some_and(is_arm);
        let (base, user) = if let Some(choice) = &group.image {
            (choice.clone(), group.user.clone())
        } else {
            let architecture = if arm { "arm64" } else { "amd64" };
            let user = group.user.clone().unwrap_or_else(|| DEBIAN_USER.to_owned());
            (Choice::Word(format!("{PARAMETER}{DEBIAN}{architecture}")), Some(user))
        };
        let options = kind.map(|kind| ("instance_type".to_owned(), Value::String(kind))).into_iter().collect();
        let vars = group.variables.clone();
        let of_bake = Group { name: group.name.clone(), count: 1, user, vars, options, ..Group::default() };
        config.vars.clone_from(&environment.variables);
        let origin = Origin { inputs: environment.paths(), environment: Some(environment.name.clone()), bake: None };
        let roles = roles.unwrap_or(&group.roles).to_vec();
        Self::new(environment.app.clone(), roles, Wanted::Ami(base), config, of_bake, origin)
    }

    /// An image for a group of a config: of its roles, or of these.
    pub fn of_files(project: &Project, files: &[PathBuf], group: Option<&str>, roles: Option<&[String]>) -> Result<Self> {
        let config = Config::load(files)?;
        let group = pick(&config, group)?.clone();
        let roles = roles.unwrap_or(&group.roles).to_vec();
        let base = match config.provider {
            ProviderKind::Aws => {
                let ami = group.options.get("ami").cloned().unwrap_or_default();
                Wanted::Ami(serde_json::from_value(ami).map_err(|e| Error::internal(format!("ami: {e}")))?)
            }
            ProviderKind::Machine => Wanted::Layer(group.options.get("image").and_then(Value::as_str).map(str::to_owned)),
            other => {
                return Err(Error::config(format!("provider `{}` has no images", other.name()))
                    .hint("Those of providers `aws` and `machine` can be baked."));
            }
        };
        let inputs = files.iter().map(std::path::absolute).collect::<std::io::Result<_>>().at("find", &project.root)?;
        let app = project.root.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let origin = Origin { inputs, environment: None, bake: None };
        Self::new(app, roles, base, config, Group { count: 1, ..group }, origin)
    }

    fn new(app: String, roles: Vec<String>, base: Wanted, mut config: Config, mut group: Group, origin: Origin) -> Result<Self> {
        if roles.is_empty() {
            return Err(Error::usage(format!("group `{}` has no roles to bake", group.name))
                .hint("Name them: opsrun image bake ROLE…, or give the group its `roles: [nginx]`."));
        }
        group.roles.clone_from(&roles);
        group.options.retain(|key, _| OPTIONS.contains(&key.as_str()));
        // Nobody but us connects to it.
        if config.provider == ProviderKind::Aws {
            group.options.insert("ports".to_owned(), json!([]));
            group.options.insert("web_ports".to_owned(), json!([]));
        }
        let name = group.name.clone();
        config.groups = vec![group];
        (config.keep, config.cloud.expires_action) = (None, None);
        config.expires = Some(EXPIRES.to_owned());
        Ok(Self { app, group: name, roles, base, config, origin })
    }

    /// Lets the machine live for so long, if the bake fails.
    pub fn expires(&mut self, after: &str) -> Result<()> {
        units::parse_duration(after)?;
        self.config.expires = Some(after.to_owned());
        Ok(())
    }

    /// Calls the application so.
    pub fn set_app(&mut self, app: &str) {
        app.clone_into(&mut self.app);
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn inputs(&self) -> Inputs<'_> {
        Inputs { files: &self.origin.inputs, environment: self.origin.environment.as_deref() }
    }

    /// Its name and content, on this base.
    pub fn recipe(&self, project: &Project, base: Base) -> Result<Recipe> {
        let group = self.config.groups.first().map(|g| g.vars.clone()).unwrap_or_default();
        Recipe::new(&project.root, &self.app, &self.roles, &[&self.config.vars, &group], base)
    }

    /// The config of the machine, on this base.
    pub fn config_on(&self, base: &Base) -> Config {
        let mut config = self.config.clone();
        for group in &mut config.groups {
            match &self.base {
                Wanted::Ami(_) => {
                    group.options.insert("ami".to_owned(), base.id.clone().into());
                    let kind = if base.architecture == "arm64" { "t4g.small" } else { "t3.small" };
                    group.options.entry("instance_type").or_insert_with(|| kind.into());
                }
                Wanted::Layer(Some(image)) => drop(group.options.insert("image".to_owned(), image.clone().into())),
                Wanted::Layer(None) => {}
            }
        }
        config
    }

    /// Where the machine's deployment comes from, and what for.
    pub fn origin(&self, bake: Value) -> Origin {
        Origin { bake: Some(bake), ..self.origin.clone() }
    }
}

/// Whether AWS's name of a machine type is of its own processors: `t4g.small`, `c7gn.large`.
fn is_arm(kind: &str) -> bool {
    let family = kind.split('.').next().unwrap_or_default();
    let after = family.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start_matches(|c: char| c.is_ascii_digit());
    after.starts_with('g')
}

/// The group named, or the only one.
fn pick<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Group> {
    let names: Vec<&str> = config.groups.iter().map(|g| g.name.as_str()).collect();
    match (name, config.groups.as_slice()) {
        (Some(name), _) => config.group(name).ok_or_else(|| {
            let hint = did_you_mean(name, names.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("Its groups are: {}.", names.join(", ")));
            Error::usage(format!("the config has no group \"{name}\"")).hint(hint)
        }),
        (None, [only]) => Ok(only),
        (None, []) => Err(Error::usage("the config has no group").hint("Write one: `groups: { web: { count: 1 } }`.")),
        (None, _) => Err(Error::usage("the config has several groups")
            .hint(format!("Say for which of them the image is: --group {}", names.join(" or --group ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_told_by_the_type() {
        for (kind, arm) in
            [("t4g.small", true), ("c7gn.large", true), ("m6gd.metal", true), ("g5.xlarge", false), ("t3.small", false)]
        {
            assert_eq!(is_arm(kind), arm, "{kind}");
        }
    }
}
