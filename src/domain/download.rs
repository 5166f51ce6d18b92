//! Files from elsewhere, fetched once, checked, and kept in this user's cache.

use super::http;
use crate::base::checksum::{hex, sha256};
use crate::base::error::{Error, IoResultExt, Kind, Result};
use crate::base::event::{Cx, Unit};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sha2::Digest;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How often a download is begun anew after a failure that may pass.
const RETRIES: usize = 4;

/// What the file must be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// Checksums in hexadecimal.
    pub sha256: Option<String>,
    pub sha512: Option<String>,
    pub sha1: Option<String>,
    /// Its name in the cache; the last part of the address when none.
    pub name: Option<String>,
}

/// A kind of checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Algorithm {
    Sha256,
    Sha512,
    Sha1,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Sha1 => "sha1",
        }
    }

    fn length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
            Self::Sha1 => 40,
        }
    }
}

/// A checksum that a file must have.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Checksum {
    algorithm: Algorithm,
    hex: String,
}

impl Expected {
    /// The strongest checksums first.
    fn checksums(&self) -> Result<Vec<Checksum>> {
        let given = [(Algorithm::Sha512, &self.sha512), (Algorithm::Sha256, &self.sha256), (Algorithm::Sha1, &self.sha1)];
        given
            .into_iter()
            .filter_map(|(algorithm, hex)| hex.as_ref().map(|h| (algorithm, h.trim().to_ascii_lowercase())))
            .map(|(algorithm, hex)| {
                if hex.len() == algorithm.length() && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                    Ok(Checksum { algorithm, hex })
                } else {
                    let (name, length) = (algorithm.name(), algorithm.length());
                    Err(Error::usage(format!("\"{hex}\" is not a {name}: it must be {length} hexadecimal digits")))
                }
            })
            .collect()
    }
}

/// Returns the path of the file at `source`: an address of the web, `file://…`, or a path (relative ones from `root`).
///
/// What the web has is fetched once and kept in `cache`. Without a checksum it is known by its address, and only damage
/// on this disk is noticed. A file of this machine is checked and used where it is.
pub async fn download(cache: &Path, root: &Path, source: &str, expected: &Expected, cx: &Cx) -> Result<PathBuf> {
    let checksums = expected.checksums()?;
    if !source.starts_with("http://") && !source.starts_with("https://") {
        if source.contains("://") && !source.starts_with("file://") {
            return Err(Error::usage(format!("cannot download from {source}"))
                .hint("Addresses start with http://, https:// or file://; anything else is a path."));
        }
        let path = root.join(source.strip_prefix("file://").unwrap_or(source));
        return local(path, checksums, cx).await;
    }
    let url = http::parse_url(source)?;
    let name = file_name(&url, expected.name.as_deref())?;
    let key = match checksums.first() {
        Some(sum) => format!("{}-{}", sum.algorithm.name(), &sum.hex[..40]),
        None => format!("url-{}", &sha256(source)[..40]),
    };
    let dir = cache.join("downloads").join(key);
    std::fs::create_dir_all(&dir).at("create", &dir)?;
    let _lock = lock(&dir.join(".lock"), &name, cx).await?;
    let place =
        Place { path: dir.join(&name), part: dir.join(format!(".{name}.part")), sum: dir.join(format!(".{name}.sha256")) };
    if place.is_kept(&checksums, cx).await? {
        return Ok(place.path);
    }
    let outcome = fetch(&url, &place, &checksums, cx).await;
    if outcome.is_err() {
        let _ = std::fs::remove_file(&place.part);
    }
    outcome.map(|()| place.path)
}

/// Where a download and what belongs to it lie in the cache.
struct Place {
    path: PathBuf,
    part: PathBuf,
    /// What the file's sha256 was when it came.
    sum: PathBuf,
}

impl Place {
    /// Whether the file is there and whole. One that is not is removed.
    async fn is_kept(&self, checksums: &[Checksum], cx: &Cx) -> Result<bool> {
        if !self.path.exists() {
            return Ok(false);
        }
        let mut wanted = checksums.to_vec();
        if let Ok(hex) = std::fs::read_to_string(&self.sum) {
            wanted.push(Checksum { algorithm: Algorithm::Sha256, hex: hex.trim().to_owned() });
        }
        if !wanted.is_empty() && verify(&self.path, wanted, cx).await.is_ok() {
            return Ok(true);
        }
        cx.cancel.check()?;
        cx.events.warn(format!("{} was damaged in the cache: fetching it anew", self.path.display()));
        std::fs::remove_file(&self.path).at("remove", &self.path)?;
        Ok(false)
    }
}

async fn local(path: PathBuf, checksums: Vec<Checksum>, cx: &Cx) -> Result<PathBuf> {
    if !path.is_file() {
        return Err(Error::new(Kind::NotFound, format!("there is no file {}", path.display())));
    }
    if !checksums.is_empty() {
        verify(&path, checksums, cx).await?;
    }
    Ok(path)
}

/// A name that is one plain file's.
fn file_name(url: &reqwest::Url, given: Option<&str>) -> Result<String> {
    let last = url.path_segments().and_then(|mut s| s.next_back()).unwrap_or_default();
    let name = match given {
        Some(name) => name,
        None if last.is_empty() => "download",
        None => last,
    };
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) || name.len() > 200 {
        return Err(Error::usage(format!("\"{name}\" cannot be a file's name"))
            .hint("Give the download a plain name: name: \"x.tar.gz\"."));
    }
    Ok(name.to_owned())
}

/// One caller fetches, the others wait for it: in this process and in all others.
async fn lock(path: &Path, name: &str, cx: &Cx) -> Result<Flock<File>> {
    let open = || File::options().create(true).append(true).open(path).at("open", path);
    let mut file = open()?;
    let mut told = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, errno)) => return Err(Error::io("lock", path, &errno.into())),
        };
        if !told {
            told = true;
            cx.events.debug(format!("waiting for another download of {name}"));
        }
        let pause = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(())
        };
        cx.cancel.guard(pause).await?;
    }
}

async fn fetch(url: &reqwest::Url, place: &Place, checksums: &[Checksum], cx: &Cx) -> Result<()> {
    let mut attempt = 0;
    loop {
        match cx.cancel.guard(fetch_once(url, &place.part, checksums, cx)).await {
            Ok(sha256) => {
                std::fs::write(&place.sum, format!("{sha256}\n")).at("write", &place.sum)?;
                return std::fs::rename(&place.part, &place.path).at("keep", &place.path);
            }
            Err(error) => {
                let passing = error.kind() == Kind::Http
                    && error.details().code.is_none_or(|c| u16::try_from(c).is_ok_and(http::is_passing));
                if !passing || attempt >= RETRIES {
                    return Err(error.hint("A file that is already here can be given by its path instead of its address."));
                }
                http::pause(attempt, error.message(), cx).await?;
                attempt += 1;
            }
        }
    }
}

/// Writes what the server sends to `part` and returns its sha256, once all checksums match.
async fn fetch_once(url: &reqwest::Url, part: &Path, checksums: &[Checksum], cx: &Cx) -> Result<String> {
    let what = format!("GET {}", http::shown(url));
    let failed = |e: reqwest::Error| http::failure(&what, &e, Duration::from_secs(60));
    let mut response = http::file_client()?.get(url.clone()).send().await.map_err(failed)?;
    let status = response.status().as_u16();
    if status != 200 {
        let mut error = Error::new(Kind::Http, format!("{what} answered {}", http::status_words(status)));
        error.details_mut().code = Some(status.into());
        return Err(error);
    }
    let name = part.file_name().map(|n| n.to_string_lossy().trim_start_matches('.').trim_end_matches(".part").to_owned());
    let label = format!("downloading {}", name.unwrap_or_default());
    let progress = cx.events.progress(label, response.content_length().unwrap_or(0), Unit::Bytes);
    let mut digests = Digests::new(checksums);
    let mut file = tokio::fs::File::create(part).await.at("create", part)?;
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        digests.update(&chunk);
        file.write_all(&chunk).await.at("write", part)?;
        progress.advance(chunk.len() as u64);
    }
    file.sync_all().await.at("write", part)?;
    digests.finish(checksums).map_err(|e| mismatch(&http::shown(url), &e))
}

/// All digests of one file at once; sha256 always.
struct Digests {
    sha256: sha2::Sha256,
    sha512: Option<sha2::Sha512>,
    sha1: Option<sha1::Sha1>,
}

impl Digests {
    fn new(checksums: &[Checksum]) -> Self {
        let wants = |algorithm| checksums.iter().any(|c| c.algorithm == algorithm);
        Self {
            sha256: sha2::Sha256::new(),
            sha512: wants(Algorithm::Sha512).then(sha2::Sha512::new),
            sha1: wants(Algorithm::Sha1).then(sha1::Sha1::new),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(digest) = &mut self.sha512 {
            digest.update(bytes);
        }
        if let Some(digest) = &mut self.sha1 {
            digest.update(bytes);
        }
    }

    /// The sha256; or what differs, as a phrase.
    fn finish(self, checksums: &[Checksum]) -> Result<String, String> {
        let sha256 = hex(self.sha256.finalize());
        let sha512 = self.sha512.map(|d| hex(d.finalize()));
        let sha1 = self.sha1.map(|d| hex(d.finalize()));
        for wanted in checksums {
            let found = match wanted.algorithm {
                Algorithm::Sha256 => Some(&sha256),
                Algorithm::Sha512 => sha512.as_ref(),
                Algorithm::Sha1 => sha1.as_ref(),
            };
            if found != Some(&wanted.hex) {
                let found = found.map_or("nothing", |f| f.as_str());
                return Err(format!("its {} is {found}, not {}", wanted.algorithm.name(), wanted.hex));
            }
        }
        Ok(sha256)
    }
}

async fn verify(path: &Path, checksums: Vec<Checksum>, cx: &Cx) -> Result<()> {
    let (path, cancel) = (path.to_owned(), cx.cancel.clone());
    let work = move || {
        let mut digests = Digests::new(&checksums);
        let mut file = File::open(&path).at("read", &path)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            cancel.check()?;
            let n = file.read(&mut buffer).at("read", &path)?;
            if n == 0 {
                break;
            }
            digests.update(&buffer[..n]);
        }
        digests.finish(&checksums).map(drop).map_err(|e| mismatch(&path.display().to_string(), &e))
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
}

fn mismatch(source: &str, how: &str) -> Error {
    Error::new(Kind::Transfer, format!("{source} is not the file it should be: {how}")).hint(
        "Nothing was kept. Was the checksum taken of another version, or is something between here and there changing files?",
    )
}

#[cfg(test)]
mod tests {
    use super::super::http::tests::{Server, answer};
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn sha(hex: &str) -> Expected {
        Expected { sha256: Some(hex.to_owned()), ..Expected::default() }
    }

    fn files(dir: &Path) -> Vec<String> {
        walkdir::WalkDir::new(dir)
            .into_iter()
            .filter_map(|e| e.ok().filter(|e| e.file_type().is_file()))
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| n != ".lock")
            .collect()
    }

    #[tokio::test]
    async fn is_fetched_once_and_checked_every_time() {
        let server = Server::start(vec![answer("200 OK", "hello")]).await;
        let cache = tempfile::tempdir().unwrap();
        let url = format!("{}/a/x.txt", server.address);
        let get = |expected: Expected| {
            let (cache, url) = (cache.path().to_owned(), url.clone());
            async move { download(&cache, Path::new("/"), &url, &expected, &Cx::quiet()).await }
        };
        // Eight at once: one fetches, all get it.
        let all = futures::future::join_all((0..8).map(|_| get(sha(HELLO)))).await;
        let path = all[0].as_ref().unwrap().clone();
        assert!(all.iter().all(|p| p.as_ref().unwrap() == &path));
        assert_eq!((server.count(), std::fs::read_to_string(&path).unwrap().as_str()), (1, "hello"));
        assert!(path.ends_with("x.txt"));

        // Damaged in the cache: fetched anew.
        std::fs::write(&path, "hellx").unwrap();
        assert_eq!(std::fs::read_to_string(get(sha(HELLO)).await.unwrap()).unwrap(), "hello");
        assert_eq!(server.count(), 2);

        // Without a checksum too.
        let plain = get(Expected { name: Some("y".into()), ..Expected::default() }).await.unwrap();
        std::fs::write(&plain, "bad").unwrap();
        get(Expected { name: Some("y".into()), ..Expected::default() }).await.unwrap();
        assert_eq!(std::fs::read_to_string(&plain).unwrap(), "hello");
        let others = Expected {
            sha1: Some("AAF4C61DDCC5E8A2DABEDE0F3B482CD9AEA9434D".into()),
            sha512: Some("9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043".into()),
            ..Expected::default()
        };
        get(others).await.unwrap();
    }

    #[tokio::test]
    async fn what_does_not_match_or_breaks_off_is_not_kept() {
        let broken = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhel".to_owned();
        let server = Server::start(vec![broken.clone(), answer("500 Oops", ""), answer("200 OK", "hello")]).await;
        let cache = tempfile::tempdir().unwrap();
        let path = download(cache.path(), Path::new("/"), &server.address, &sha(HELLO), &Cx::quiet()).await.unwrap();
        assert_eq!((std::fs::read_to_string(path).unwrap().as_str(), server.count()), ("hello", 3));

        let server = Server::start(vec![answer("200 OK", "hello")]).await;
        let cache = tempfile::tempdir().unwrap();
        let wrong = HELLO.replace('2', "3");
        let error = download(cache.path(), Path::new("/"), &server.address, &sha(&wrong), &Cx::quiet()).await.unwrap_err();
        assert_eq!(
            error.message(),
            format!("{}/ is not the file it should be: its sha256 is {HELLO}, not {wrong}", server.address)
        );
        assert_eq!(files(cache.path()), Vec::<String>::new());
        assert_eq!(server.count(), 1, "a wrong file is not asked for again");

        let server = Server::start(vec![answer("404 Not Found", "")]).await;
        let error = download(cache.path(), Path::new("/"), &server.address, &sha(HELLO), &Cx::quiet()).await.unwrap_err();
        assert!(error.message().ends_with("answered 404 Not Found") && server.count() == 1, "{error}");
        assert_eq!(files(cache.path()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn local_files_are_checked_and_used_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.tar");
        std::fs::write(&file, "hello").unwrap();
        let get = |source: String, expected: Expected| {
            let dir = dir.path().to_owned();
            async move { download(&dir, &dir, &source, &expected, &Cx::quiet()).await }
        };
        assert_eq!(get("x.tar".into(), sha(HELLO)).await.unwrap(), file);
        assert_eq!(get(format!("file://{}", file.display()), Expected::default()).await.unwrap(), file);
        assert!(
            get("x.tar".into(), sha(&HELLO.replace('2', "3"))).await.unwrap_err().message().contains("x.tar is not the file")
        );
        assert_eq!(get("y.tar".into(), Expected::default()).await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(get("s3://x/y".into(), Expected::default()).await.unwrap_err().kind(), Kind::Usage);
        assert!(get("x.tar".into(), sha("abc")).await.unwrap_err().message().contains("64 hexadecimal digits"));
        let named = Expected { name: Some("../x".into()), ..Expected::default() };
        assert!(get("http://127.0.0.1:1/x".into(), named).await.unwrap_err().message().contains("cannot be a file's name"));
    }
}
