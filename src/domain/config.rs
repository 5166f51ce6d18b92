//! A deployment config: several YAML files merged into one, every key with its file and line.
