use super::contenders::PEERS;
use super::*;
use crate::opt;
use crate::workload::Workload;
use clap::Parser;
use std::fs;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cachette-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// Writes a file, and has its path.
    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn args(&self, rest: &[&str]) -> Args {
        let folder = self.0.display().to_string();
        let reference = self.0.join("known.csv").display().to_string();
        let line = ["replay", &folder, "--reference", &reference];
        Line::try_parse_from(line.iter().chain(rest)).expect("well formed").args
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const HEADER: &str = "trace,capacity,policy,requests,hits\n";

/// Two traces, and a reference with cells of one hit each.
fn small(name: &str) -> (Folder, Vec<Trace>) {
    let folder = Folder::new(name);
    let mut known = HEADER.to_owned();
    let make = |(name, workload): (&str, Workload)| {
        let mut trace = workload.make(5_000, 400, 3).expect("made");
        trace.name = name.to_owned();
        let bytes: Vec<u8> = trace.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        folder.file(&format!("{name}.u32"), bytes);
        for capacity in [99, 100, 300, 4_000] {
            known += &format!("{name},{capacity},opt,5000,5000\n{name},{capacity},lru,5000,1\n");
        }
        trace
    };
    let traces = [("zipf", Workload::Zipf(0.8)), ("loop", Workload::Loop)].map(make).into();
    folder.file("known.csv", known);
    (folder, traces)
}

#[test]
fn every_contender_replays_and_none_passes_the_optimum() {
    let (folder, traces) = small("all");
    for segments in ["1", "8"] {
        let outcome =
            measure(&folder.args(&["--segments", segments, "--jobs", "3"])).expect("runs");
        let places: Vec<_> = outcome.cells.iter().map(ToString::to_string).collect();
        assert_eq!(
            places,
            ["loop 100", "loop 300", "loop 4000", "zipf 100", "zipf 300", "zipf 4000"]
        );
        for cell in &outcome.cells {
            let trace = traces.iter().find(|trace| trace.name == cell.trace).expect("made above");
            let distinct = trace.distinct();
            let most =
                opt::hits(&opt::replay(&trace.ids, distinct as usize, cell.capacity, |_| ()).hit);
            assert_eq!(cell.hits.len(), outcome.contenders.len() + 1, "and the reference's lru");
            for (who, &hits) in &cell.hits {
                assert!(hits <= most, "{who} at {cell}: {hits} of {most}");
                // More room than keys: nothing is given up, whatever the policy.
                if cell.capacity > distinct && !matches!(who, Who::Reference(_)) {
                    assert_eq!(hits, cell.requests - distinct, "{who} at {cell}");
                }
                if cell.trace == "zipf" && !matches!(who, Who::Reference(_)) {
                    assert!(hits > 0, "{who} at {cell}");
                }
            }
        }
    }
}

#[test]
fn peers_with_a_known_policy_hit_as_ours_do() {
    let (folder, _) = small("same");
    let outcome =
        measure(&folder.args(&["--peers", "foyer sieve", "--policies", "sieve"])).expect("runs");
    for cell in &outcome.cells {
        let [ours, theirs] = [Who::Ours("sieve"), Who::Peer("foyer sieve")];
        assert_eq!(cell.hits[&ours], cell.hits[&theirs], "{cell}");
    }
}

#[test]
fn everything_is_told() {
    let (folder, _) = small("told");
    let outcome = measure(&folder.args(&["--policies", "adaptive,fifo"])).expect("runs");
    let (text, markdown) = (output::text(&outcome), output::markdown(&outcome));
    for told in [&text, &markdown] {
        assert!(told.starts_with("6 cells of 2 traces, of 100 entries and more."), "{told}");
        assert!(!told.contains("opt"), "the optimum is nobody's measure: {told}");
        for name in PEERS.iter().map(|peer| peer.name).chain(["cachette fifo", "lru (reference)"]) {
            assert!(told.contains(name), "{name} is not in {told}");
        }
        assert!(told.contains("cachette adaptive is more than 2 points below the best in "));
        assert!(
            told.contains("reference (lru) and the peers (foyer lru, foyer s3-fifo, "),
            "{told}"
        );
    }
    assert!(markdown.contains("| contender "));
    let mut csv = Vec::new();
    output::csv(&mut csv, &outcome.cells).expect("memory");
    let csv = String::from_utf8(csv).expect("text");
    assert_eq!(csv.lines().count(), 1 + 6 * (PEERS.len() + 2 + 1));
    // It can be a reference in its turn.
    let again = Reference::parse(&csv).expect("well formed");
    assert_eq!(again.capacities("zipf", false), [100, 300, 4_000]);
    let times = output::times(&outcome.times);
    assert!(PEERS.iter().all(|peer| times.contains(peer.name)), "{times}");
}

#[test]
fn what_ours_are_measured_against_need_not_be_there() {
    let (folder, _) = small("bare");
    folder.file("known.csv", format!("{HEADER}zipf,100,opt,5000,9\n"));
    let outcome = measure(&folder.args(&["--peers", "moka", "--policies", "lru"])).expect("runs");
    assert_eq!(outcome.cells.len(), 1, "the loop is left out");
    assert!(!output::text(&outcome).contains("cachette adaptive"));
}

#[test]
fn of_long_traces_every_so_manieth_capacity_will_do() {
    let mut trace = Workload::Loop.make(1_000, 400, 1).expect("made");
    trace.name = "T".to_owned();
    let rows = [50, 100, 200, 300, 400, 500, 600].map(|c| format!("T,{c},lru,1000,0\n"));
    let reference = Reference::parse(&format!("{HEADER}{}", rows.concat())).expect("well formed");
    let capacities = |every| -> Vec<_> {
        let cells = cells(&trace, &reference, every).expect("the same trace");
        cells.iter().map(|cell| cell.capacity).collect()
    };
    assert_eq!(capacities(1), [100, 200, 300, 400, 500, 600]);
    assert_eq!(capacities(2), [200, 400, 600]);
    assert_eq!(capacities(3), [200, 500]);
}

#[test]
fn bad_input_is_told_with_its_file_and_line() {
    let (folder, _) = small("bad");
    let says = |rest: &[&str], expected: &[&str]| {
        let error = measure(&folder.args(rest)).err().expect("bad");
        assert!(expected.iter().all(|part| error.contains(part)), "{error} lacks {expected:?}");
    };
    says(&["--peers", "moka,none"], &["no peer is called none; legal are moka, quick_cache"]);
    says(&["--policies", "none"], &["no policy is called none; legal are lru, lfu"]);
    says(&["nowhere/no.u32"], &["nowhere/no.u32: cannot be opened"]);
    says(&["--segments", "3", "--policies", "lru", "--peers", "moka"], &["3 segments: "]);
    let again = folder.0.join("zipf.u32").display().to_string();
    says(&[&again], &[&again, "a second trace zipf"]);
    let known = |text: &str| folder.file("known.csv", format!("{HEADER}{text}"));
    known("zipf,100,lru,5000,1\nzipf,100,lfu,x,1\n");
    says(&[], &["known.csv: line 3: \"x\" is not a number"]);
    known("zipf,100,lru,4999,1\n");
    says(&[], &["known.csv: zipf 100, lru: ", "the trace has 5000"]);
    known("zipf,100,lru,5000,5001\n");
    says(&[], &["known.csv: zipf 100, lru: 5001 hits"]);
    known("other,100,lru,5000,1\n");
    says(&[], &["known.csv: it has none of these traces"]);
    known("zipf,99,lru,5000,1\n");
    says(&[], &["known.csv: it has none of these traces"]);
    folder.file("known.csv", "");
    says(&[], &["known.csv: it is empty"]);
    fs::remove_file(folder.0.join("known.csv")).expect("it was there");
    says(&[], &["known.csv: cannot be read"]);
}

#[test]
fn a_folder_without_traces_or_a_damaged_trace_is_told() {
    let folder = Folder::new("empty");
    folder.file("known.csv", HEADER);
    folder.file("notes.txt", "");
    let error = measure(&folder.args(&[])).err().expect("no trace");
    assert!(error.contains("it holds no *.u32"), "{error}");
    folder.file("cut.u32", [0, 0, 0, 0, 1]);
    let error = measure(&folder.args(&[])).err().expect("cut");
    assert!(error.contains("cut.u32: at byte 4: "), "{error}");
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_the_work() {
    let (folder, _) = small("csv");
    let error = run(&folder.args(&["--csv", "nowhere/at/all.csv"])).expect_err("no such folder");
    assert!(error.starts_with("nowhere/at/all.csv: cannot be written: "), "{error}");
}
