//! Images: the layer of a machine that was prepared, kept in the cache, for others to stand on.
//!
//! `<cache>/machine/images/<name>/` holds `layer`, `image.json` and, in `users`, who stands on it. An image stands on the image
//! that its machine stood on, and so on down to the base system.

use super::super::files::{read_json, write_json};
use super::claim::Claim;
use super::layout::{Home, MachineRecord, remove_tree};
use super::lock::FileLock;
use super::{claim, identity, tool};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::{Cx, Unit};
use crate::base::suggest::did_you_mean;
use crate::transport::provider::NewImage;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is known of an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Image {
    pub name: String,
    /// What it stands on: the name of another image, or of a base system.
    pub on: String,
    /// The machine it was saved from: `4504/server-0`.
    pub from: String,
    pub created: Timestamp,
    /// Of its own layer.
    pub bytes: u64,
    /// What else is known of it, such as what it was baked from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

/// An image, with who uses it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ImageLine {
    #[serde(flatten)]
    pub image: Image,
    /// Machines and other images.
    pub used_by: Vec<String>,
}

/// The images of this user's cache.
#[derive(Clone, Debug)]
pub struct Images {
    cache: PathBuf,
}

impl Images {
    /// `cache` is opsrun's.
    pub fn new(cache: &Path) -> Self {
        Self { cache: cache.join("machine") }
    }

    fn root(&self) -> PathBuf {
        self.cache.join("images")
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    async fn lock(&self, cx: &Cx) -> Result<FileLock> {
        FileLock::take(&self.root().join(".lock"), cx, || cx.events.info("another opsrun works on the images: waiting")).await
    }

    /// Returns what is known of an image; the error for an unknown one names the nearest.
    pub fn get(&self, name: &str) -> Result<Image> {
        check_name(name)?;
        if let Some(image) = read_json(&self.dir(name).join("image.json"))? {
            return Ok(image);
        }
        let known = self.names()?;
        let error = Error::new(Kind::NotFound, format!("there is no image \"{name}\""));
        Err(match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(hint) => error.hint(hint),
            None => error
                .hint("`opsrun image ls` lists them; `opsrun image save DEPLOYMENT NODE NAME` makes one of a stopped machine."),
        })
    }

    /// Whether machines can be made from an image: it and all that it stands on must be there.
    pub fn check(&self, name: &str) -> Result<()> {
        match self.layers(name)?.into_iter().find(|layer| !layer.is_dir()) {
            None => Ok(()),
            Some(gone) => Err(Error::new(Kind::NotFound, format!("what image \"{name}\" stands on is gone: {}", gone.display()))
                .hint(format!("Bring it back, or be rid of the image (opsrun image rm {name}) and save it anew."))),
        }
    }

    /// What machines stand on that are made from this image, or from none: its name, and the image as it is now.
    pub fn base(&self, name: Option<&str>) -> Result<String> {
        let Some(name) = name else { return Ok(super::base::name()) };
        self.check(name)?;
        Ok(format!("{name}@{}", self.get(name)?.created))
    }

    /// The image of this name, if there is one.
    pub fn find(&self, name: &str) -> Result<Option<Image>> {
        check_name(name)?;
        read_json(&self.dir(name).join("image.json"))
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.at("read", self.root())?,
        };
        let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        names.retain(|name| check_name(name).is_ok());
        names.sort();
        Ok(names)
    }

    /// Lists all images, by name.
    pub fn list(&self) -> Result<Vec<ImageLine>> {
        let images = self.names()?.iter().map(|name| self.get(name)).collect::<Result<Vec<Image>>>()?;
        let line = |image: &Image| {
            let mut used_by: Vec<String> = claim::describe(&self.machines_on(&image.name)?);
            used_by.extend(images.iter().filter(|i| i.on == image.name).map(|i| format!("image {}", i.name)));
            Ok(ImageLine { image: image.clone(), used_by })
        };
        images.iter().map(line).collect()
    }

    fn machines_on(&self, name: &str) -> Result<Vec<Claim>> {
        let Ok(entries) = std::fs::read_dir(self.dir(name).join("users")) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in entries.flatten().filter(|e| !e.file_name().to_string_lossy().starts_with('.')) {
            found.extend(read_json::<Claim>(&entry.path())?.filter(Claim::holds));
        }
        found.sort_by(|a, b| a.mark.cmp(&b.mark));
        Ok(found)
    }

    /// The layers of an image, topmost first, down to its base system.
    fn layers(&self, name: &str) -> Result<Vec<PathBuf>> {
        let mut layers = Vec::new();
        let mut next = name.to_owned();
        while next != base_name(&self.cache.join(&next)) {
            let image = self.get(&next).map_err(|e| if next == name { e } else { stands_on(name, e) })?;
            layers.push(self.dir(&next).join("layer"));
            next = image.on;
        }
        layers.push(self.cache.join(next));
        Ok(layers)
    }

    /// The layers beneath a machine that is made from the image, which it claims.
    pub async fn claim(&self, name: &str, home: &Home, cx: &Cx) -> Result<Vec<PathBuf>> {
        let _lock = self.lock(cx).await?;
        let layers = self.layers(name)?;
        let users = self.dir(name).join("users");
        std::fs::create_dir_all(&users).at("make", &users)?;
        write_json(&users.join(home.id()), &Claim::of(home))?;
        Ok(layers)
    }

    /// Removes an image that nobody uses.
    pub async fn remove(&self, name: &str, cx: &Cx) -> Result<()> {
        self.get(name)?;
        let _lock = self.lock(cx).await?;
        let used_by = self.list()?.into_iter().find(|line| line.image.name == name).map(|line| line.used_by).unwrap_or_default();
        if !used_by.is_empty() {
            return Err(Error::new(Kind::Provider, format!("image \"{name}\" is in use by {}", used_by.join(", ")))
                .hint("Deprovision those machines, or remove those images, first."));
        }
        self.sweep()?;
        let gone = self.root().join(format!(".gone-{name}"));
        std::fs::rename(self.dir(name), &gone).at("remove", self.dir(name))?;
        remove_tree(&gone)
    }

    /// Keeps the layer of a machine, which must not run, without what makes it this machine.
    pub async fn save(
        &self,
        deployment: &str,
        home: &Home,
        record: &MachineRecord,
        key: &str,
        new: &NewImage,
        cx: &Cx,
    ) -> Result<Image> {
        let name = new.name.as_str();
        check_name(name)?;
        self.free(name)?;
        let base = record.layers.last().map(|dir| base_name(dir)).unwrap_or_default();
        let image = record.spec.options.get("image").and_then(serde_json::Value::as_str);
        std::fs::create_dir_all(self.root()).at("make", self.root())?;
        self.sweep()?;
        let half = self.root().join(format!("{SAVING}{}-{}", std::process::id(), uuid::Uuid::new_v4()));
        std::fs::create_dir(&half).at("make", &half)?;
        let progress = cx.events.progress(format!("saving {} as image {name}", home.node), 0, Unit::Items);
        let saved = async {
            let layer = half.join("layer");
            let (from, to) = (home.upper(), &layer);
            // With all that a layer is made of: owners, links, extended attributes, the marks of removed files. Dies with us.
            let words =
                ["--pdeathsig", "KILL", "cp", "--archive", "--reflink=auto", "--no-target-directory"].map(std::ffi::OsStr::new);
            tool::run("setpriv", &[&words[..], &[from.as_os_str(), to.as_os_str()]].concat(), cx).await?;
            identity::strip(&layer, key)?;
            let image = Image {
                name: name.to_owned(),
                on: image.map_or(base, str::to_owned),
                from: format!("{deployment}/{}", home.node),
                created: Timestamp::now(),
                bytes: size(&layer),
                facts: new.facts.clone(),
            };
            write_json(&half.join("image.json"), &image)?;
            tool::run("sync", &[std::ffi::OsStr::new("-f"), half.as_os_str()], cx).await?;
            let _lock = self.lock(cx).await?;
            self.free(name)?;
            std::fs::rename(&half, self.dir(name)).at("make", self.dir(name))?;
            Ok(image)
        };
        let saved = saved.await;
        drop(progress);
        if saved.is_err() {
            let _ = remove_tree(&half);
        }
        saved
    }

    fn free(&self, name: &str) -> Result<()> {
        if self.dir(name).exists() {
            return Err(Error::new(Kind::Provider, format!("there is an image \"{name}\" already"))
                .hint(format!("Take another name, or remove it first: opsrun image rm {name}")));
        }
        Ok(())
    }

    /// Deletes what commands that were cut off left half-saved or half-removed.
    fn sweep(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.root()).at("read", self.root())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let saver = name.strip_prefix(SAVING).and_then(|rest| rest.split('-').next()).map(|pid| format!("/proc/{pid}"));
            if saver.is_some_and(|process| !Path::new(&process).exists()) || name.starts_with(".gone-") {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn stands_on(image: &str, error: Error) -> Error {
    error.context(format!("looking for what image \"{image}\" stands on"))
}

const SAVING: &str = ".saving-";

/// Takes back the claim of a machine that is no more.
pub fn release(home: &Home, record: &MachineRecord) -> Result<()> {
    let Some(image) = record.layers.first().filter(|layer| layer.ends_with("layer")).and_then(|layer| layer.parent()) else {
        return Ok(());
    };
    let claim = image.join("users").join(home.id());
    match std::fs::remove_file(&claim) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &claim, &e)),
        _ => Ok(()),
    }
}

/// The name of a base system's folder; empty for what is none.
fn base_name(dir: &Path) -> String {
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if name.starts_with("base-") { name } else { String::new() }
}

/// An image's name is also the name of its folder.
fn check_name(name: &str) -> Result<()> {
    super::super::files::check_name(name)?;
    if name.starts_with("base-") {
        return Err(Error::config(format!("\"{name}\" cannot be the name of an image: base systems begin with `base-`")));
    }
    Ok(())
}

/// What a tree takes on the disk.
fn size(dir: &Path) -> u64 {
    walkdir::WalkDir::new(dir).into_iter().flatten().filter_map(|e| e.metadata().ok()).map(|m| m.blocks() * 512).sum()
}
