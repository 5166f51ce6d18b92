//! An environment in an empty cloud, used through the library: for what no verb shows.
#![allow(dead_code, reason = "each test uses a part of it")]

use crate::aws::{Aws, REGION};
use opsrun::base::cancel::Cancel;
use opsrun::base::error::{Error, Result};
use opsrun::base::event::{Cx, Event, Events, Level, Listener};
use opsrun::domain::environment::Environment;
use opsrun::domain::stack::{Applied, Plan, Stack, Wanted};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A queue and a bucket, with one parameter that shows and one that does not.
pub const SHOP: &str = "\
Parameters:
  Delay: { Type: Number, Default: 1 }
  Word: { Type: String, NoEcho: true, Default: not-said }
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties: { DelaySeconds: !Ref Delay, Tags: [{ Key: Word, Value: !Ref Word }] }
  Files:
    Type: AWS::S3::Bucket
    DeletionPolicy: Delete
    UpdateReplacePolicy: Delete
    Properties: { BucketName: shop-files }
Outputs:
  Queue: { Value: !Ref Queue }
";

/// A project with the environment `staging` of `shop`, and its cloud.
pub struct Place {
    pub aws: Aws,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    told: Told,
    pub cx: Cx,
}

/// What was told: notes, and what long work said it was waiting for.
#[derive(Clone, Default)]
pub struct Told {
    notes: Arc<Mutex<Vec<(Level, String)>>>,
    labels: Arc<Mutex<Vec<String>>>,
}

impl Listener for Told {
    fn event(&self, event: Event) {
        match event {
            Event::Note { level, text } => self.notes.lock().unwrap().push((level, text)),
            Event::Begin { label, .. } | Event::Label { label, .. } => self.labels.lock().unwrap().push(label),
            _ => {}
        }
    }
}

/// Whatever the library called must be in the policy that `opsrun aws policy` prints.
impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let policy = opsrun::domain::deployment::aws_policy().to_string();
        let actions = self.aws.actions(crate::aws::KEY).into_iter().map(|a| {
            let known = [(":HeadObject", ":GetObject"), (":HeadBucket", ":ListBucket"), ("tagging:", "tag:")];
            known.iter().fold(a, |a, (call, action)| a.replace(call, action))
        });
        let missing: Vec<String> = actions.filter(|a| !policy.contains(&format!("\"{a}\""))).collect();
        assert!(missing.is_empty(), "called, and not in the policy: {missing:?}");
    }
}

impl Place {
    /// `more`: what the environment's file says besides.
    pub fn new(more: &str) -> Self {
        let aws = Aws::start();
        let told = Told::default();
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
            cx: Cx::new(Cancel::new(), Events::new(told.clone())),
            told,
            aws,
        };
        place.environment(more);
        place.write("formations/shop.yml", SHOP);
        place
    }

    pub fn environment(&self, more: &str) {
        let endpoint = self.aws.endpoint();
        let text = format!(
            "app: shop\nregion: {REGION}\nformations: [shop]\nendpoint_url: {endpoint}\naccess_key: lab\nsecret_key: a-key-of-tests\nsettle_time: 3s\n{more}\n"
        );
        self.write("environments/staging.yml", &text);
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn load(&self) -> Environment {
        Environment::load(self.dir.path(), "staging").unwrap()
    }

    pub fn stack(&self) -> Stack {
        self.block_on(Stack::open(&self.load())).unwrap()
    }

    /// What the files say now.
    pub fn wanted(&self, replace: &[&str]) -> Wanted {
        let environment = self.load();
        let template = environment.template().unwrap();
        let values = environment.values(&template, &[]).unwrap();
        Wanted { template, values, replace: replace.iter().map(|n| (*n).to_owned()).collect() }
    }

    pub fn try_plan(&self, replace: &[&str]) -> Result<Plan> {
        self.block_on(self.stack().plan(&self.wanted(replace), &self.cx))
    }

    pub fn plan(&self) -> Plan {
        self.try_plan(&[]).unwrap_or_else(|e| panic!("{}", self.story(&e)))
    }

    pub fn apply(&self, plan: &Plan) -> Applied {
        self.block_on(self.stack().apply(plan, &self.cx)).unwrap_or_else(|e| panic!("{}", self.story(&e)))
    }

    /// Planned and done.
    pub fn commission(&self) -> Applied {
        let applied = self.apply(&self.plan());
        assert!(applied.succeeded(), "{applied:#?}");
        applied
    }

    /// All notes so far, as lines; debug ones are left out.
    pub fn notes(&self) -> Vec<String> {
        self.told.notes.lock().unwrap().iter().filter(|(level, _)| *level > Level::Debug).map(|(_, t)| t.clone()).collect()
    }

    pub fn labels(&self) -> Vec<String> {
        self.told.labels.lock().unwrap().clone()
    }

    pub fn story(&self, error: &Error) -> String {
        let calls = self.aws.calls().into_iter().map(|c| format!("  {} {:?} {}\n", c.action, c.error, c.what));
        format!("{error:?}\n{}\n{}", calls.collect::<String>(), self.notes().join("\n"))
    }

    /// Does something behind opsrun's back; `cfn` is CloudFormation's client.
    pub fn in_the_console(&self, script: &str) -> String {
        let mut python = Command::new(crate::aws::python());
        self.aws.environment(&mut python);
        python.env("AWS_ACCESS_KEY_ID", "console");
        let text = format!("import boto3\ncfn = boto3.client('cloudformation', region_name='{REGION}')\n{script}");
        let out = python.args(["-c", &text]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// The names of actions that changed something, or tried to, since `forget`; those of the console apart.
    pub fn changes(&self) -> Vec<String> {
        self.aws.changes().into_iter().map(|c| c.action).collect()
    }
}
