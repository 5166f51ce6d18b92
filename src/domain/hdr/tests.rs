use super::*;
use crate::base::cancel::Cancel;
use crate::base::event::{Event, Events, Listener};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag as LogTag};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

/// A log as cassandra-stress writes it: ten intervals of a second, each with READ-st and READ-wt.
fn log(seed: u64, begin: u64, intervals: u64) -> String {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let start = UNIX_EPOCH + Duration::from_secs(begin);
    let mut writer = IntervalLogWriterBuilder::new()
        .with_start_time(start)
        .with_base_time(UNIX_EPOCH)
        .begin_log_with(&mut bytes, &mut serializer)
        .unwrap();
    for n in 0..intervals {
        for tag in ["READ-st", "READ-wt"] {
            let mut histogram = Histogram::<u64>::new(3).unwrap();
            let mut x = seed * 7919 + n * 104_729 + tag.len() as u64;
            for _ in 0..500 {
                // A small generator with a long tail, in nanoseconds.
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let spread = 1 + (x >> 33) % 2_000_000;
                let tail = if (x >> 20).is_multiple_of(97) { 40 } else { 1 };
                histogram.record(200_000 + spread * tail).unwrap();
            }
            let at = Duration::from_secs(begin + n);
            writer.write_histogram(&histogram, at, Duration::from_secs(1), LogTag::new(tag)).unwrap();
        }
    }
    String::from_utf8(bytes).unwrap()
}

struct Files {
    dir: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

fn files(texts: &[String]) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..texts.len()).map(|n| dir.path().join(format!("{n}.hdr"))).collect();
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(path, text).unwrap();
    }
    Files { dir, paths }
}

fn all(files: &Files, selection: &Selection) -> Result<Vec<(String, Figures)>> {
    summary(&files.paths, selection, &Cx::quiet())
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn merges_files_and_trims_both_ends() {
    // Two loaders over the same ten seconds.
    let both = files(&[log(1, 1_700_000_000, 10), log(2, 1_700_000_000, 10)]);
    let found = all(&both, &Selection::default()).unwrap();
    assert_eq!(found.iter().map(|(tag, _)| tag.as_str()).collect::<Vec<_>>(), ["READ-st", "READ-wt"]);
    let read = &found[0].1;
    assert_eq!((read.ops, read.seconds, read.throughput), (10_000, 10.0, 1000.0));
    assert!(read.p50 < read.p90 && read.p90 < read.p99 && read.p99 < read.p999 && read.p99999 <= read.max, "{read:?}");
    assert!(read.max > 20.0 && read.max < 81.0 && read.mean > 0.2, "milliseconds: {read:?}");

    let trimmed = Selection { tag: Some("READ-wt".into()), trim_start: seconds(3), trim_end: seconds(2) };
    let found = all(&both, &trimmed).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].1.ops, found[0].1.seconds), (5_000, 5.0));

    // An interval that is cut by the trim counts as a whole, or not at all.
    let odd = Selection { trim_start: Duration::from_millis(2_500), ..Selection::default() };
    assert_eq!(all(&both, &odd).unwrap()[0].1.ops, 7_000 * 2 / 2);

    // One after the other: the time between does not count.
    let apart = files(&[log(1, 1_700_000_000, 10), log(2, 1_700_005_000, 10)]);
    assert!((all(&apart, &Selection::default()).unwrap()[0].1.throughput - 500.0).abs() < 1e-6);
}

#[test]
fn percentiles_are_those_of_all_values_not_averages() {
    let one = files(&[log(1, 1, 3), log(2, 1, 3), log(3, 1, 3)]);
    let merged = &all(&one, &Selection::default()).unwrap()[0].1;
    let single: Vec<f64> =
        (0..3).map(|n| summary(&one.paths[n..=n], &Selection::default(), &Cx::quiet()).unwrap()[0].1.max).collect();
    assert!((merged.max - single.iter().copied().fold(0.0, f64::max)).abs() < 1e-9);
    assert_eq!(merged.ops, 4_500);
}

#[test]
fn a_cut_last_line_is_left_out_with_a_warning() {
    struct Warnings(Mutex<Vec<String>>);
    impl Listener for Arc<Warnings> {
        fn event(&self, event: Event) {
            if let Event::Note { text, .. } = event {
                self.0.lock().unwrap().push(text);
            }
        }
    }
    let whole = log(1, 1_700_000_000, 4);
    let lines = whole.lines().count();
    let last_start = whole.trim_end().rfind('\n').unwrap() + 1;
    for cut in [last_start + 3, last_start + 20, last_start + 60, whole.len() - 9, whole.len() - 2] {
        let cut_off = files(&[whole[..cut].to_owned()]);
        let warnings = Arc::new(Warnings(Mutex::default()));
        let cx = Cx::new(Cancel::new(), Events::new(warnings.clone()));
        let found = summary(&cut_off.paths, &Selection::default(), &cx).unwrap();
        assert_eq!((found[0].1.ops, found[1].1.ops), (2_000, 1_500), "{cut}");
        let path = cut_off.paths[0].display();
        assert_eq!(*warnings.0.lock().unwrap(), [format!("{path}:{lines}: the last line is cut off and was left out")]);
    }
    // Without its line break alone it is whole.
    assert_eq!(all(&files(&[whole.trim_end().to_owned()]), &Selection::default()).unwrap()[1].1.ops, 2_000);
    assert_eq!(all(&files(&[whole.replace('\n', "\r\n")]), &Selection::default()).unwrap()[1].1.ops, 2_000);
}

#[test]
fn says_what_is_wrong_and_where() {
    let whole = log(1, 1_700_000_000, 3);
    let says = |text: String, selection: &Selection| {
        let files = files(&[text]);
        let error = all(&files, selection).unwrap_err();
        error.message().replace(&files.dir.path().display().to_string(), "DIR")
    };
    let every = Selection::default();
    assert_eq!(says(String::new(), &every), "DIR/0.hdr holds no histogram");
    assert_eq!(says("# only words\n".into(), &every), "DIR/0.hdr holds no histogram");
    assert_eq!(says("Op rate: 5\n".into(), &every), "DIR/0.hdr:1 is no line of an HDR log: it has too few fields");
    assert_eq!(
        says("Tag=x,1.0,1.0,1.0,!!!!\n".into(), &every).split(": ").nth(1).unwrap(),
        "it is not whole base64 text (Invalid symbol 33, offset 0.)"
    );
    assert_eq!(
        says("Tag=x,1.0,soon,1.0,HISTF\n".into(), &every),
        "DIR/0.hdr:1 is no line of an HDR log: its length is not a number"
    );
    let damaged = whole.replacen("HISTFAAA", "HISTFAAB", 1);
    assert!(says(damaged, &every).contains("it breaks off after"));
    let typo = Selection { tag: Some("READ-ts".into()), ..Selection::default() };
    assert_eq!(says(whole.clone(), &typo), "no line of these HDR logs has the tag \"READ-ts\"");
    let long = Selection { trim_start: seconds(5), ..Selection::default() };
    assert_eq!(says(whole, &long), "trimming leaves nothing of DIR/0.hdr: it is 3s long");
    let missing = summary(&[PathBuf::from("/no/such.hdr")], &every, &Cx::quiet()).unwrap_err();
    assert_eq!(missing.message(), "cannot read /no/such.hdr: no such file or directory");
    assert!(summary(&[], &every, &Cx::quiet()).is_err());
}

/// HdrHistogram's own log reader, in Java.
fn reference(log: &Path, tag: &str) -> (Vec<(f64, f64)>, f64, f64) {
    const INSTALL: &str = "install the reference: apt-get install -y openjdk-17-jre-headless maven && mvn -q dependency:get -Dartifact=org.hdrhistogram:HdrHistogram:2.1.12";
    let jar = PathBuf::from(std::env::var_os("HOME").unwrap())
        .join(".m2/repository/org/hdrhistogram/HdrHistogram/2.1.12/HdrHistogram-2.1.12.jar");
    assert!(jar.exists(), "{} is missing; {INSTALL}", jar.display());
    let out = std::process::Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(jar)
        .args(["org.HdrHistogram.HistogramLogProcessor", "-tag", tag, "-outputValueUnitRatio", "1000000", "-i"])
        .arg(log)
        .output()
        .unwrap_or_else(|e| panic!("cannot run java: {e}; {INSTALL}"));
    let text = String::from_utf8(out.stdout).unwrap();
    let footer = |name: &str| -> f64 {
        let after = text.split(&format!("{name} ")).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
        after.trim_start_matches([' ', '=']).split([',', ']']).next().unwrap().trim().parse().unwrap()
    };
    let rows = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse::<f64>().ok()? * 100.0))
        })
        .collect();
    (rows, footer("Mean"), footer("Max"))
}

#[test]
fn agrees_with_the_reference() {
    // The reference reads one log: the second file's lines go below the first's.
    let (one, two) = (log(5, 1_700_000_000, 12), log(6, 1_700_000_012, 12));
    let lines = two.lines().filter(|l| l.starts_with("Tag=")).collect::<Vec<_>>().join("\n");
    let joined = files(&[format!("{one}{lines}\n")]);
    let apart = files(&[one, two]);
    for tag in ["READ-st", "READ-wt"] {
        let selection = Selection { tag: Some(tag.into()), ..Selection::default() };
        let mine = all(&apart, &selection).unwrap().remove(0).1;
        let (rows, mean, max) = reference(&joined.paths[0], tag);
        assert!(rows.len() > 30, "{rows:?}");
        assert!((mine.mean - mean).abs() < 0.001 && (mine.max - max).abs() < 0.001, "{tag}: {mine:?}, {mean}, {max}");
        let mut sums = Sums::default();
        let text = std::fs::read(&joined.paths[0]).unwrap();
        for interval in log::parse(&text, Path::new("x")).unwrap().intervals.iter().filter(|i| i.tag == tag) {
            Decoder::new().add(interval.histogram, &mut sums).unwrap();
        }
        let merged = merge(&sums).unwrap();
        for (value, percentile) in rows {
            let [found] = percentiles(&merged, [percentile]);
            assert!((ms(found) - value).abs() < 0.001, "{tag} at {percentile}: {} and {value}", ms(found));
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_log_panics(text in "(#\\[StartTime: [0-9.]{0,5}|Tag=[a-z]{0,2},|[0-9.,e+-]{0,12}|HISTF[A-Za-z0-9+/=]{0,40}|\n|\\PC{0,6}){0,12}") {
        let files = files(&[text]);
        let _ = all(&files, &Selection::default());
    }

    #[test]
    fn damage_anywhere_is_an_error_or_no_harm(at in 0_usize..4000, with: u8) {
        let mut text = log(1, 1_700_000_000, 1).into_bytes();
        let at = at % text.len();
        text[at] = with;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.hdr");
        std::fs::write(&path, text).unwrap();
        let _ = summary(&[path], &Selection::default(), &Cx::quiet());
    }
}
