use super::fake::Fake;
use super::plan::plan;
use super::*;
use crate::base::command::{Command, Output};
use crate::base::endpoint::Endpoint;
use crate::base::event::Cx;
use crate::domain::config::Source;
use crate::transport::state::journal::What;
use async_trait::async_trait;
use std::sync::Arc;

/// A folder for deployments and a fake provider that outlives requests, as a real one does.
struct Lab {
    home: tempfile::TempDir,
    provider: Fake,
}

impl Lab {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), provider: Fake::default() }
    }

    fn project(&self) -> Project {
        let dir = self.home.path().to_owned();
        Project { root: dir.clone(), home: dir.clone(), cache: dir.join("cache") }
    }

    fn store(&self) -> Store {
        Store::new(&self.project().deployments(), "lab").unwrap()
    }

    fn request(&self, text: &str) -> Request {
        let source = Source { name: "lab.yml".into(), dir: "/configs".into(), text: format!("provider: local\n{text}") };
        let config = Config::from_sources(vec![source], None).unwrap();
        Request {
            store: self.store(),
            config,
            inputs: vec!["/configs/lab.yml".into()],
            environment: None,
            bake: None,
            provider: Arc::new(self.provider.clone()),
            created: Timestamp::now(),
            extended: None,
            replace: false,
            refresh_images: false,
            max_hourly: None,
        }
    }

    async fn plan(&self, text: &str) -> Plan {
        plan(&self.request(text), &Cx::quiet()).await.unwrap()
    }

    async fn try_apply(&self, text: &str) -> Result<Deployment> {
        let request = self.request(text);
        let shown = plan(&request, &Cx::quiet()).await?;
        apply(&request, &shown, Wait::No, &Cx::quiet()).await
    }

    async fn apply(&self, text: &str) -> Vec<String> {
        let made = self.try_apply(text).await.unwrap();
        let opened = Deployment::open(&self.project(), "lab").unwrap();
        assert_eq!(opened.nodes(), made.nodes());
        opened.nodes().names()
    }

    async fn destroy(&self) -> Result<Option<Vec<String>>> {
        destroy::destroy_with(&self.store(), Some(&self.provider), &Cx::quiet()).await
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.store().dir().join(name)).unwrap()
    }
}

/// One line a node: "server-3 create (server: 3 to 5 nodes)".
fn told(plan: &Plan) -> Vec<String> {
    plan.changes.iter().map(|c| format!("{} {:?} ({})", c.node, c.action, c.reason)).collect()
}

const THREE: &str = "server_count: 3\nclient_count: 1";

#[tokio::test]
async fn nodes_come_in_the_configs_order_and_files_tell_of_them() {
    let lab = Lab::new();
    let first = lab.plan(THREE).await;
    assert!(first.new && !first.destroys() && !first.is_empty());
    assert_eq!(told(&first)[3], "client-0 Create (new)");
    assert_eq!(lab.apply(THREE).await, ["server-0", "server-1", "server-2", "client-0"]);
    assert!(lab.plan(THREE).await.is_empty());
    let ssh_config = lab.file("ssh_config");
    assert!(ssh_config.contains("Host server-0\n  HostName 127.0.9.10\n  Port 2222\n  User me\n"), "{ssh_config}");
    assert!(lab.file("known_hosts").contains("[127.0.9.10]:2222 ssh-ed25519 AAAAserver-0\n"));
    assert!(lab.file("inventory").contains("\n[client]\nclient-0 ansible_host=127.0.9.13 ansible_port=2222"));
    assert!(lab.file("deployment.yml").contains("#   /configs/lab.yml"));
    let deployment = Deployment::open(&lab.project(), "lab").unwrap();
    assert_eq!(deployment.nodes().iter().next().unwrap().endpoint.keys, [deployment.dir().join("keys/id_ed25519")]);
}

#[tokio::test]
async fn scaling_changes_only_what_differs() {
    let lab = Lab::new();
    lab.apply(THREE).await;
    lab.provider.take_log();
    let five = "server_count: 5\nclient_count: 1";
    assert_eq!(
        told(&lab.plan(five).await)[3..5],
        ["server-3 Create (server: 3 to 5 nodes)", "server-4 Create (server: 3 to 5 nodes)"]
    );
    lab.apply(five).await;
    assert_eq!(lab.provider.take_log(), ["create server-3", "create server-4"]);
    let down = lab.plan("server_count: 2\nclient_count: 1").await;
    assert!(down.destroys());
    assert_eq!(told(&down)[0], "server-4 Remove (server: 5 to 2 nodes)");
    assert_eq!(lab.apply("server_count: 2\nclient_count: 1").await, ["server-0", "server-1", "client-0"]);
    assert_eq!(lab.provider.take_log(), ["destroy server-4", "destroy server-3", "destroy server-2"]);
    let without = lab.plan("server_count: 2").await;
    assert_eq!(told(&without)[0], "client-0 Remove (group client is no longer in the config)");
    assert_eq!(lab.apply("server_count: 2").await, ["server-0", "server-1"]);
    assert!(!lab.file("known_hosts").contains("client-0"));
}

#[tokio::test]
async fn what_stopped_is_repaired_and_what_vanished_is_made_again() {
    let lab = Lab::new();
    lab.apply(THREE).await;
    lab.provider.stop("server-1");
    lab.provider.lose("server-2");
    let plan = lab.plan(THREE).await;
    assert_eq!(told(&plan)[1..3], ["server-1 Repair (it does not run)", "server-2 Create (it is gone)"]);
    let status =
        status::status_with(&Deployment::open(&lab.project(), "lab").unwrap(), &lab.provider, &Cx::quiet()).await.unwrap();
    let found: Vec<NodeState> = status.nodes.iter().map(|n| n.status).collect();
    assert_eq!(found, [NodeState::Running, NodeState::Stopped, NodeState::Missing, NodeState::Running]);
    lab.apply(THREE).await;
    assert!(lab.plan(THREE).await.is_empty());
}

#[tokio::test]
async fn a_failure_halfway_is_written_down_and_the_next_apply_goes_on() {
    let lab = Lab::new();
    lab.provider.fail_create_after(Some(2));
    let error = lab.try_apply(THREE).await.unwrap_err();
    assert_eq!((error.message(), error.details().exit), ("out of capacity", Some(1)));
    let half = Deployment::open(&lab.project(), "lab").unwrap();
    assert_eq!(half.nodes().names(), ["server-0", "server-1"]);
    assert!(matches!(lab.store().journal().read().unwrap().last().unwrap().what, What::Failed { .. }));
    lab.provider.fail_create_after(None);
    lab.provider.take_log();
    assert_eq!(told(&lab.plan(THREE).await)[2], "server-2 Create (it was never made)");
    lab.apply(THREE).await;
    assert_eq!(lab.provider.take_log(), ["create server-2", "create client-0"]);
    assert_eq!(half.uuid(), Deployment::open(&lab.project(), "lab").unwrap().uuid());
}

/// A rule that somebody opened after the plan was shown, and what an earlier command left to be ended.
#[tokio::test]
async fn apply_does_what_was_shown_to_what_is_no_node_too() {
    let lab = Lab::new();
    lab.apply(THREE).await;
    let request = lab.request("server_count: 4\nclient_count: 1");
    let shown = plan(&request, &Cx::quiet()).await.unwrap();
    lab.provider.find(Fate::Remove, "subnet b", "no node is in it", true);
    lab.provider.find(Fate::Change, "security group server", "close 3306", false);
    lab.provider.take_log();
    let error = apply(&request, &shown, Wait::No, &Cx::quiet()).await.unwrap_err();
    assert!(error.message().ends_with("(change security group server: close 3306)"), "{error}");
    assert!(lab.provider.take_log().is_empty());
    let shown = plan(&request, &Cx::quiet()).await.unwrap();
    apply(&request, &shown, Wait::No, &Cx::quiet()).await.unwrap();
    assert_eq!(lab.provider.take_log(), ["create server-3"]);
}

#[tokio::test]
async fn apply_does_what_was_shown_or_nothing() {
    let lab = Lab::new();
    lab.apply(THREE).await;
    let request = lab.request("server_count: 4\nclient_count: 1");
    let shown = plan(&request, &Cx::quiet()).await.unwrap();
    lab.provider.stop("client-0");
    lab.provider.take_log();
    let error = apply(&request, &shown, Wait::No, &Cx::quiet()).await.unwrap_err();
    assert!(error.message().ends_with("changed since the plan was shown (client-0: unchanged, now bring back)"), "{error}");
    assert!(lab.provider.take_log().is_empty());
    // Less to do than shown is no surprise: a supervisor went on with what a killed command had begun.
    lab.apply(THREE).await;
    let shown = plan(&request, &Cx::quiet()).await.unwrap();
    lab.try_apply("server_count: 4\nclient_count: 1").await.unwrap();
    apply(&request, &shown, Wait::No, &Cx::quiet()).await.unwrap();
}

#[tokio::test]
async fn destroying_leaves_nothing_and_can_be_repeated() {
    let lab = Lab::new();
    lab.apply(THREE).await;
    lab.provider.fail_destroy(true);
    assert!(lab.destroy().await.unwrap_err().details().hints[0].contains("deprovision lab"));
    lab.provider.fail_destroy(false);
    assert_eq!(lab.destroy().await.unwrap().unwrap().len(), 4);
    assert!(lab.provider.names().is_empty());
    assert_eq!(std::fs::read_dir(lab.project().deployments()).unwrap().count(), 0);
    assert_eq!(lab.destroy().await.unwrap(), None);
    let gone = Deployment::open(&lab.project(), "lab").unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_folder_without_state_is_taken_over_only_if_it_is_a_crashs() {
    let lab = Lab::new();
    let dir = lab.store().dir().to_owned();
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("lock"), "").unwrap();
    assert!(Deployment::open(&lab.project(), "lab").unwrap_err().message().contains("never finished"));
    assert_eq!(lab.destroy().await.unwrap(), Some(vec![]));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("thesis.tex"), "").unwrap();
    assert!(lab.try_apply(THREE).await.unwrap_err().message().contains("thesis.tex"));
    assert!(lab.destroy().await.unwrap_err().details().hints[0].contains("thesis.tex"));
    assert!(dir.join("thesis.tex").exists());
}

#[tokio::test]
async fn a_deployment_stays_with_its_provider() {
    let lab = Lab::new();
    lab.apply(THREE).await;
    let file = lab.home.path().join("s.yml");
    std::fs::write(&file, "provider: static\ngroups: { server: { hosts: [a] } }").unwrap();
    let error = Request::new(&lab.project(), "lab", &[file]).unwrap_err();
    assert_eq!(error.message(), "deployment \"lab\" is of provider `local`; it cannot become `static`");
    assert_eq!(error.details().places[0].line, 1);
    let missing = Request::new(&lab.project(), "lba", &[]).unwrap_err();
    assert_eq!(missing.kind().exit_code(), 2);
}

#[tokio::test]
async fn one_writer_at_a_time() {
    let lab = Lab::new();
    lab.apply(THREE).await;
    let _lock = lab.store().lock("opsrun provision lab").unwrap().unwrap();
    let error = lab.try_apply(THREE).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Locked);
    assert!(error.message().contains(&format!("by `opsrun provision lab` (process {} of", std::process::id())), "{error}");
    // Readers do not care.
    Deployment::open(&lab.project(), "lab").unwrap();
}

#[tokio::test]
async fn waiting_lists_every_node_that_does_not_answer() {
    struct Deaf(&'static [&'static str]);
    #[async_trait]
    impl Reach for Deaf {
        async fn answers(&self, endpoint: &Endpoint, _: &Cx) -> Result<()> {
            assert!(endpoint.retry_for.as_secs() >= 60);
            if self.0.contains(&endpoint.name.as_str()) { Err(Error::new(Kind::Connection, "no route to host")) } else { Ok(()) }
        }

        async fn run(&self, _: &Endpoint, command: &Command, _: &Cx) -> Result<Output> {
            Err(Error::internal(format!("nobody is to run {}", command.line)))
        }
    }
    let lab = Lab::new();
    let request = lab.request(THREE);
    let shown = plan(&request, &Cx::quiet()).await.unwrap();
    apply(&request, &shown, Wait::UntilAllAnswer(&Deaf(&[])), &Cx::quiet()).await.unwrap();
    let shown = plan(&request, &Cx::quiet()).await.unwrap();
    let error = apply(&request, &shown, Wait::UntilAllAnswer(&Deaf(&["server-1", "client-0"])), &Cx::quiet()).await.unwrap_err();
    assert_eq!(error.message(), "2 of 4 nodes do not answer");
    assert_eq!(
        error.details().failed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["server-1: no route to host", "client-0: no route to host"]
    );
}
