//! The content of an archive in a directory. What was unpacked is remembered there, so that it is done once.

use super::super::{Change, Fact, Known, PathKind, Resource, Touch, Verdict};
use super::access::Access;
use super::content::Content;
use crate::base::error::Result;
use crate::base::shell::quote;
use std::sync::Arc;
use std::time::Duration;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Where the archive is.
#[derive(Clone, Debug)]
pub enum Archive {
    /// Carried over from here; its name tells its form.
    Carried { name: String, content: Content },
    /// On the node.
    There(String),
}

#[derive(Clone, Debug)]
pub struct Unpack {
    pub archive: Archive,
    /// The directory, made when it is missing.
    pub path: String,
    /// There is nothing to do when this is there.
    pub creates: Option<String>,
    /// So many folders at the beginning of names are left out.
    pub strip: u32,
    /// Of everything in the archive.
    pub access: Access,
}

impl Unpack {
    fn archive_name(&self) -> &str {
        let (Archive::Carried { name, .. } | Archive::There(name)) = &self.archive;
        name.rsplit('/').next().unwrap_or(name)
    }

    /// Holds the checksum of the archive that was unpacked last.
    fn note(&self) -> String {
        format!("{}/.opsrun-unpacked-{}", self.path, self.archive_name())
    }

    /// Prints it.
    fn noted(&self) -> String {
        format!("cat {}", quote(&self.note()))
    }

    fn script(&self, sum: &str) -> (String, Vec<Arc<[u8]>>) {
        let path = quote(&self.path);
        let (from, uploads) = match &self.archive {
            Archive::Carried { content, .. } => ("\"$UPLOAD_0\"".to_owned(), vec![content.bytes.clone()]),
            Archive::There(there) => (quote(there), Vec::new()),
        };
        let zip = self.archive_name().to_ascii_lowercase().ends_with(".zip");
        let unpack = if zip {
            let none = super::say("there is neither unzip nor a whole python3 on this node to unpack a zip with");
            format!(
                "if command -v unzip >/dev/null; then unzip -q -o {from} -d {path}\n\
                 elif python3 -c 'import zipfile' 2>/dev/null; then python3 -m zipfile -e {from} {path}\nelse {none}; exit 1; fi\n"
            )
        } else {
            format!("tar -x --no-same-owner --strip-components={} -f {from} -C {path}\n", self.strip)
        };
        let owner = Access { mode: None, ..self.access.clone() }.set("");
        // Only what came out of the archive: the directory may hold other things. What a kernel does within one tick of its clock
        // has the same time.
        let (begin, owner) = match owner.trim() {
            "" => (String::new(), String::new()),
            set => (
                "began=$(mktemp)\ntrap 'rm -f \"$began\"' EXIT\nsleep 0.02\n".to_owned(),
                format!("find {path}/ '(' -newer \"$began\" -o -cnewer \"$began\" ')' -exec {set} -h {{}} +\n"),
            ),
        };
        let note = quote(&self.note());
        let script = format!(
            "umask 022\nmkdir -p {path}\nrm -f {note}\n{begin}{{ {unpack}}} </dev/null\n{owner}\
             printf '%s\\n' {sum} >{note}\n"
        );
        (script, uploads)
    }
}

impl Resource for Unpack {
    fn kind(&self) -> &'static str {
        "unpack"
    }

    fn name(&self) -> String {
        self.path.clone()
    }

    fn needs(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::Path(self.path.clone())];
        match &self.creates {
            Some(creates) => facts.push(Fact::Path(creates.clone())),
            None => facts.push(Fact::Output(self.noted())),
        }
        if let Archive::There(there) = &self.archive {
            facts.push(Fact::Path(there.clone()));
        }
        facts.extend(self.access.needs());
        facts
    }

    fn looks_at(&self) -> Vec<Touch> {
        vec![Touch::Tree(self.path.clone())]
    }

    fn decide(&self, known: &Known) -> Result<Verdict> {
        if let Some(creates) = &self.creates
            && known.path(creates)?.is_some()
        {
            return Ok(Verdict::Right);
        }
        if let Some(why) = self.access.blocked(known)? {
            return Ok(Verdict::Blocked(why));
        }
        let sum = match &self.archive {
            Archive::Carried { content, .. } => content.sha256.to_string(),
            Archive::There(there) => match known.path(there)? {
                Some(is) if is.sha256.is_some() => is.sha256.clone().unwrap_or_default(),
                Some(is) => return Ok(Verdict::Blocked(format!("{there} is {} and no archive", is.described()))),
                None => return Ok(Verdict::Blocked(format!("there is no archive {there}"))),
            },
        };
        if let Some(is) = known.path(&self.path)?.filter(|p| !matches!(p.kind, PathKind::Directory | PathKind::Link)) {
            return Ok(Verdict::Blocked(format!("{} is {}", self.path, is.described())));
        }
        let noted = known.outputs.get(&self.noted()).map(|(_, out)| String::from_utf8_lossy(out).trim().to_owned());
        if self.creates.is_none() && noted.as_ref() == Some(&sum) {
            return Ok(Verdict::Right);
        }
        let what = if noted.is_some_and(|n| !n.is_empty()) { "another archive" } else { "unpacked" };
        let (script, uploads) = self.script(&sum);
        let touches = vec![Touch::Tree(self.path.clone())];
        let what = vec![what.to_owned()];
        Ok(Verdict::Change(Change { what, script, uploads, touches, timeout: Some(PATIENCE), ..Change::default() }))
    }
}
