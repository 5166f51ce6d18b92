//! Figures of load: `hdr::summary`, `compare`.

use crate::base::error::Error;
use crate::domain::compare as comparing;
use crate::domain::hdr::{self, Selection};
use crate::script::convert::{from_json, to_json};
use crate::script::options::shown;
use crate::script::{Host, Options, Placed, ScriptResult};
use rhai::Map;
use rhai::plugin::{Dynamic, NativeCallContext, export_module};
use std::path::PathBuf;

fn summarise(context: &NativeCallContext, files: &Dynamic, options: Map) -> ScriptResult<Map> {
    let host = Host::of(context);
    let bad = |v: &Dynamic| Error::usage(format!("hdr::summary takes a path or an array of paths, not {}", shown(v)));
    let path = |v: &Dynamic| v.clone().into_string().map(|p| host.path(&p)).map_err(|_| bad(v));
    let files: Vec<PathBuf> = match files.as_array_ref() {
        Ok(items) => items.iter().map(path).collect::<Result<_, _>>()?,
        Err(_) => vec![path(files)?],
    };
    let mut options = Options::new("hdr::summary", options);
    let selection = Selection {
        tag: options.string("tag")?,
        trim_start: options.duration("trim_start")?.unwrap_or_default(),
        trim_end: options.duration("trim_end")?.unwrap_or_default(),
    };
    options.finish()?;
    let found = hdr::summary(&files, &selection, &host.cx)?;
    Ok(found.into_iter().map(|(tag, figures)| (tag.into(), from_json(&serde_json::json!(figures)))).collect())
}

/// What is called as `hdr::…`.
#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod module {
    /// Merges HDR latency logs (of many loaders) and returns each tag's figures.
    ///
    /// `#{ "READ-st": #{ ops, throughput, mean, p50, p90, p95, p99, p999, p9999, p99999, max, seconds } }`: times in
    /// milliseconds, throughput in operations a second over `seconds`, the wall time logged. The histograms are added up, so
    /// percentiles are those of all operations. Lines without a tag are under `default`. cassandra-stress has the tags
    /// `READ-st` (service time), `READ-rt` (response time, with the wait at a fixed rate), `READ-wt` (that wait), and so for WRITE.
    /// Options: `tag` (only this), `trim_start` and `trim_end` ("10s": leave out this much at the ends of each log).
    ///
    /// # Example
    /// ```rhai
    /// let histogram = "HISTFAAAAC142pNpmSzMwMDAzQABzFCaEch0M9ixgMH+A0Tg4DrGI4x/+Zn+yjMBAJ4VCLc=";
    /// file::write("loader.hdr", `Tag=READ-st,1700000000.000,10.000,8.000,${histogram}` + "\n");
    /// let read = hdr::summary(["loader.hdr"])["READ-st"];
    /// assert_eq(read.ops, 100);
    /// assert_eq(read.throughput, 10.0);
    /// print(`p99 ${read.p99} ms, max ${read.max} ms`);
    /// ```
    #[rhai_fn(name = "summary", return_raw)]
    pub fn summary(context: NativeCallContext, files: Dynamic, options: Map) -> ScriptResult<Map> {
        summarise(&context, &files, options).here(&context)
    }

    #[rhai_fn(name = "summary", return_raw)]
    pub fn summary_plain(context: NativeCallContext, files: Dynamic) -> ScriptResult<Map> {
        summarise(&context, &files, Map::new()).here(&context)
    }
}

/// What is called without a prefix.
#[allow(clippy::needless_pass_by_value, reason = "Rhai's calling convention")]
#[export_module]
pub mod comparison {
    /// Compares two results figure by figure: `#{ table, ratios }`.
    ///
    /// Results are maps of figures, or of tags to such maps, as `hdr::summary` and `load_result` return them. `table` is text to
    /// print; `ratios` has the shape of the results, with second divided by first (() where that cannot be).
    /// Results with different tags or units are refused.
    ///
    /// # Example
    /// ```rhai
    /// let before = #{ "READ-st": #{ throughput: 1000.0, p99: 4.0 } };
    /// let after  = #{ "READ-st": #{ throughput: 1500.0, p99: 3.0 } };
    /// let difference = compare(before, after);
    /// print(difference.table);
    /// assert_eq(difference.ratios["READ-st"].throughput, 1.5);
    /// ```
    #[rhai_fn(return_raw)]
    pub fn compare(first: Map, second: Map) -> ScriptResult<Map> {
        let found = comparing::compare(&to_json(&first.into())?, &to_json(&second.into())?)?;
        Ok([("table".into(), found.table.into()), ("ratios".into(), from_json(&found.ratios))].into_iter().collect())
    }
}
