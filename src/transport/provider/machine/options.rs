//! What a config may say about machines: `cpus`, `memory`, `image`.

use super::super::NodeSpec;
use super::cgroup::Limits;
use crate::base::error::{Error, Result};
use crate::base::units::parse_size;
use serde_json::Value;

/// Less than this and Debian does not boot.
const LEAST_MEMORY: u64 = 64 << 20;

/// The options of one machine, read.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    pub limits: Limits,
    pub image: Option<String>,
}

impl Options {
    /// Reads what the config reader has let pass; says so where the two disagree.
    pub fn of(spec: &NodeSpec) -> Result<Self> {
        let wrong = |key: &str, value: &Value, should: &str| {
            Error::config(format!("`{key}` of a machine cannot be {value}: it {should}")).on_node(&spec.name)
        };
        let mut options = Self { limits: Limits::default(), image: None };
        for (key, value) in &spec.options {
            match (key.as_str(), value) {
                ("memory", Value::String(text)) => {
                    let bytes = parse_size(text).map_err(|e| e.on_node(&spec.name))?;
                    if bytes < LEAST_MEMORY {
                        return Err(wrong(key, value, "must be at least 64MiB, or Debian does not boot"));
                    }
                    options.limits.memory = Some(bytes);
                }
                ("cpus", value) => match value.as_f64().filter(|cpus| (0.01..=10_000.0).contains(cpus)) {
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range was just looked at")]
                    Some(cpus) => options.limits.cpus = Some((cpus * 1000.0).round() as u64),
                    None => return Err(wrong(key, value, "must be a number of processors, such as 1.5")),
                },
                ("image", Value::String(name)) => options.image = Some(name.clone()),
                (_, value) => return Err(wrong(key, value, "has no such option")),
            }
        }
        Ok(options)
    }
}
