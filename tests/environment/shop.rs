//! An environment `staging` in a project and a cloud of its own.

use crate::aws::{Aws, REGION};
use crate::lab::{stderr, stdout};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Reached like the machines of the tests, and quick to look again.
pub const COMMON: &str = "\
app: shop
region: eu-central-1
allow_from: 198.51.100.7/32
settle_time: 1s
owner: shop@example.com
";
/// A stack that is made at once.
pub const SMALL: &str = "\
Parameters:
  App: { Type: String }
  Env: { Type: String }
  Size: { Type: Number, Default: 1, MaxValue: 9 }
Resources:
  Files:
    Type: AWS::S3::Bucket
    DeletionPolicy: Delete
    UpdateReplacePolicy: Retain
  Queue:
    Type: AWS::SQS::Queue
    Properties: { QueueName: !Sub '${App}-${Env}-queue', DelaySeconds: !Ref Size }
  Topic:
    Type: AWS::SNS::Topic
    Properties: { TopicName: !Sub '${App}-${Env}-topic' }
";

pub struct Shop {
    dir: tempfile::TempDir,
    pub aws: Aws,
}

impl Shop {
    /// An empty project.
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("opsrun shop ").tempdir().unwrap(), aws: Aws::start() }
    }

    /// With an environment of one small formation and without machines.
    pub fn small() -> Self {
        let shop = Self::new();
        shop.write("environments/common.yml", COMMON);
        shop.write("environments/staging.yml", "formations: [small]\n");
        shop.write("formations/small.yml", SMALL);
        shop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The binary, with credentials for this cloud and for no other.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opsrun"));
        self.aws.environment(&mut command);
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        command
            .env_remove("OPSRUN_HOME")
            .env_remove("SSH_AUTH_SOCK")
            .env("NO_COLOR", "1")
            .env("OPSRUN_CACHE", self.path("cache"));
        command
    }

    pub fn manage(&self, words: &[&str]) -> Output {
        self.command(&[&["manage", "staging"], words].concat()).output().unwrap()
    }

    #[track_caller]
    pub fn succeeds(&self, words: &[&str]) -> String {
        let out = self.manage(words);
        assert!(out.status.success(), "manage staging {}: {}\n{}", words.join(" "), said(&out), self.story());
        said(&out)
    }

    /// What it says, which must end with this code.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) -> String {
        let out = self.manage(words);
        assert_eq!(out.status.code(), Some(code), "manage staging {}: {}\n{}", words.join(" "), said(&out), self.story());
        said(&out)
    }

    /// The calls of the cloud that changed something.
    pub fn story(&self) -> String {
        self.aws.changes().iter().map(|c| format!("  {} {} {:?}\n", c.number, c.action, c.error)).collect()
    }

    /// Nothing was asked of the cloud that changes anything.
    #[track_caller]
    pub fn assert_untouched(&self, why: &str) {
        assert!(self.aws.changes().is_empty(), "{why}\n{}", self.story());
    }

    #[track_caller]
    pub fn assert_nothing(&self, why: &str) {
        self.aws.assert_none(REGION, &format!("{why}\n{}", self.story()));
    }
}

pub fn said(out: &Output) -> String {
    format!("{}{}", stdout(out), stderr(out))
}
