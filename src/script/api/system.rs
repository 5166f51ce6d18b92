//! Settings of the kernel, and file systems.

use crate::base::error::{Error, Result};
use crate::domain::node::NodeSet;
use crate::domain::resource::kinds::{Mount, Source, Sysctl, checked_path};
use crate::script::api::resources::{is_absent, nothing_else, same};
use crate::script::options::shown;
use crate::script::wanting::{Asked, Common, refuse_local};
use crate::script::{Options, ScriptResult};
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};

fn setting(context: &NativeCallContext, nodes: &NodeSet, name: &str, value: Option<&Dynamic>, options: Map) -> Result<Asked> {
    let mut options = Options::new("sysctl", options);
    let common = Common::read(context, &mut options)?;
    let absent = is_absent("sysctl", &mut options)?;
    options.finish()?;
    refuse_local(nodes, "its kernel's settings")?;
    let value = match (value, absent) {
        (Some(value), false) if value.is_int() => Some(value.to_string()),
        (Some(value), false) => Some(
            value
                .clone()
                .into_string()
                .map_err(|_| Error::usage(format!("sysctl takes a string or a whole number, not {}", shown(value))))?,
        ),
        (None, true) => None,
        (Some(_), true) => return Err(Error::usage("sysctl is to be absent: it takes no value")),
        (None, false) => return Err(Error::usage("sysctl is not told the value")),
    };
    let sysctl = Sysctl { name: name.to_owned(), value };
    sysctl.check()?;
    same(context, nodes, &common, sysctl)
}

fn mount_at(context: &NativeCallContext, nodes: &NodeSet, path: &str, options: Map) -> Result<Asked> {
    let mut options = Options::new("mount", options);
    let common = Common::read(context, &mut options)?;
    let (device, fstype, flags) = (options.string("source")?, options.string("type")?, options.string("options")?);
    let absent = is_absent("mount", &mut options)?;
    options.finish()?;
    refuse_local(nodes, "its file systems")?;
    let path = checked_path(path)?;
    let source = if absent {
        nothing_else("mount", &[("source", device.is_some()), ("type", fstype.is_some()), ("options", flags.is_some())])?;
        None
    } else {
        let missing = |what: &str| {
            Error::usage(format!("mount is not told its \"{what}\""))
                .hint("nodes.mount(path, #{ source: \"/dev/sdb1\", type: \"ext4\" })")
        };
        Some(Source {
            device: device.ok_or_else(|| missing("source"))?,
            fstype: fstype.ok_or_else(|| missing("type"))?,
            options: flags.unwrap_or_else(|| "defaults".to_owned()),
        })
    };
    let mount = Mount { path, source };
    mount.check()?;
    same(context, nodes, &common, mount)
}

#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    type Nodes = NodeSet;

    /// A setting of the kernel on every node, now and at boot. The value is a string or a whole number.
    ///
    /// `nodes.sysctl(name, #{ state: "absent" })` sets it at boot no more; what is set now stays until then.
    /// Options: those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai,no_run
    /// let servers = deployment().nodes("server");
    /// servers.sysctl("vm.swappiness", 1);
    /// servers.sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456");
    /// ```
    #[rhai_fn(name = "sysctl", pure, return_raw)]
    pub fn sysctl(
        context: NativeCallContext,
        nodes: &mut Nodes,
        name: &str,
        value: Dynamic,
        options: Map,
    ) -> ScriptResult<Asked> {
        Ok(setting(&context, nodes, name, Some(&value), options)?)
    }

    #[rhai_fn(name = "sysctl", pure, return_raw)]
    pub fn sysctl_plain(context: NativeCallContext, nodes: &mut Nodes, name: &str, value: Dynamic) -> ScriptResult<Asked> {
        match value.read_lock::<Map>() {
            Some(options) => Ok(setting(&context, nodes, name, None, options.clone())?),
            None => Ok(setting(&context, nodes, name, Some(&value), Map::new())?),
        }
    }

    /// A file system mounted at a path of every node, now and at boot. The directory is made when it is missing.
    ///
    /// Options: `source` ("/dev/sdb1", "UUID=…", "host:/export", "tmpfs"), `type` ("ext4", "nfs", "tmpfs"), `options`
    /// ("defaults"), `state` ("absent": neither mounted nor in fstab), and those of every resource (see `file`).
    ///
    /// # Example
    /// ```rhai,no_run
    /// let servers = deployment().nodes("server");
    /// servers.mount("/var/lib/data", #{ source: "/dev/nvme1n1", type: "xfs", options: "noatime" });
    /// ```
    #[rhai_fn(name = "mount", pure, return_raw)]
    pub fn mount(context: NativeCallContext, nodes: &mut Nodes, path: &str, options: Map) -> ScriptResult<Asked> {
        Ok(mount_at(&context, nodes, path, options)?)
    }
}
