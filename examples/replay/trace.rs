//! Access traces: what one is, and the formats that it can be read from.
//!
//! | name ends with | a record | sizes |
//! |---|---|---|
//! | `.u32` | a little-endian `u32`, the id | no |
//! | `.sized` | two of them: id, size in bytes | yes |
//! | `.lis` | a line `start n _ _`, as of the ARC traces: `n` requests, from `start` upward | no |
//! | `.csv` | a line `key` or `key,size`, the first line perhaps a header | with the second |
//! | `.oracleGeneral`, `.oracleGeneral.bin` | 24 bytes: `u32` time, `u64` id, `u32` size, `i64` next access | yes |
//!
//! Each may be compressed: `.zst` follows. A file is read as a stream; what is kept is one `u32` a request.
//!
//! A truncated or garbled file is an error with its offset: a byte of the file, a byte of its decompressed data, or a line.

use crate::zstd::{Damage, Zstd};
use std::collections::{HashMap, TryReserveError};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The name endings that a trace may have, for messages.
pub(crate) const LEGAL: &str =
    ".u32, .sized, .lis, .csv, .oracleGeneral, .oracleGeneral.bin, each with or without .zst";

/// The longest line of text. A longer one is not text.
const MAX_LINE: u64 = 64 * 1024;

/// The most requests that one line of a `.lis` may stand for. A greater number is a garbled one.
const MAX_RUN: u64 = 1 << 24;

/// Requests in order.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) name: String,
    /// Dense ids: `0, 1, 2, ...` by first appearance.
    pub(crate) ids: Vec<u32>,
    /// The size of each id, its last in the trace; none where every id weighs 1.
    pub(crate) sizes: Option<Vec<u64>>,
    /// Where the requests change their nature, if that is known.
    pub(crate) phases: Vec<Phase>,
    distinct: u32,
}

/// Requests of one nature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Phase {
    /// The number of its first request, from 0.
    pub(crate) start: u64,
    pub(crate) name: &'static str,
}

/// `count` slices of equal length, or one longer, that are all there is.
pub(crate) fn slices<T>(all: &[T], count: usize) -> impl Iterator<Item = &[T]> {
    let start = move |slice| all.len() * slice / count;
    (0..count).map(move |slice| &all[start(slice)..start(slice + 1)])
}

impl Trace {
    pub(crate) fn distinct(&self) -> u64 {
        u64::from(self.distinct)
    }

    /// The weight of all ids together: the capacity that is 100 %.
    pub(crate) fn weight(&self) -> u64 {
        self.sizes.as_ref().map_or(self.distinct(), |sizes| {
            sizes.iter().fold(0, |sum, size| sum.saturating_add(*size))
        })
    }

    /// The bytes asked for by all requests, where ids have sizes.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let sizes = self.sizes.as_ref()?;
        Some(self.ids.iter().fold(0, |sum, id| sum.saturating_add(sizes[*id as usize])))
    }
}

/// A trace under construction: gives dense ids to keys.
#[derive(Default)]
pub(crate) struct Requests {
    ids: Vec<u32>,
    sizes: Vec<u64>,
    distinct: u32,
    /// Filled only once the keys turn out not to be dense ids already.
    keys: HashMap<u64, u32, ahash::RandomState>,
    names: HashMap<Box<[u8]>, u32, ahash::RandomState>,
}

impl Requests {
    pub(crate) fn reserve(&mut self, requests: usize) -> Result<(), TryReserveError> {
        self.ids.try_reserve_exact(requests)
    }

    pub(crate) fn push_key(&mut self, key: u64, size: Option<u64>) -> Result<(), String> {
        let next = self.distinct;
        let id = if self.keys.is_empty() && key <= u64::from(next) {
            key as u32
        } else {
            if self.keys.is_empty() {
                self.keys.extend((0..next).map(|id| (u64::from(id), id)));
            }
            *self.keys.entry(key).or_insert(next)
        };
        self.push(id, size)
    }

    fn push_name(&mut self, name: &[u8], size: Option<u64>) -> Result<(), String> {
        let id = match self.names.get(name) {
            Some(id) => *id,
            None => *self.names.entry(name.into()).or_insert(self.distinct),
        };
        self.push(id, size)
    }

    fn push(&mut self, id: u32, size: Option<u64>) -> Result<(), String> {
        if id == self.distinct {
            self.distinct = id.checked_add(1).ok_or("more than 2^32 - 1 distinct keys")?;
            self.sizes.extend(size);
        } else if let Some(size) = size {
            self.sizes[id as usize] = size;
        }
        self.ids.push(id);
        Ok(())
    }

    pub(crate) fn finish(mut self, name: String) -> Result<Trace, String> {
        if self.ids.is_empty() {
            return Err("it holds no requests".to_owned());
        }
        self.ids.shrink_to_fit();
        let sizes = if self.sizes.is_empty() { None } else { Some(self.sizes) };
        Ok(Trace { name, ids: self.ids, sizes, phases: Vec::new(), distinct: self.distinct })
    }
}

/// Where a trace is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Byte(u64),
    Unpacked(u64),
    Line(u64),
}

/// What is wrong with a trace, and where.
#[derive(Debug)]
struct Fault {
    at: Place,
    what: String,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Damage>()) {
            Some(damage) => Self { at: Place::Byte(damage.at), what: damage.what.clone() },
            None => Self { at: Place::Nowhere, what: format!("cannot be read: {error}") },
        }
    }
}

/// A trace that cannot be read or made: its name, the offset, and what is wrong.
#[derive(Debug)]
pub(crate) struct TraceError {
    name: String,
    fault: Fault,
}

impl TraceError {
    pub(crate) const fn nowhere(name: String, what: String) -> Self {
        Self { name, fault: Fault { at: Place::Nowhere, what } }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, fault: Fault { at, what } } = self;
        match at {
            Place::Nowhere => write!(f, "{name}: {what}"),
            Place::Byte(at) => write!(f, "{name}: at byte {at}: {what}"),
            Place::Unpacked(at) => {
                write!(f, "{name}: at byte {at} of the decompressed data: {what}")
            }
            Place::Line(at) => write!(f, "{name}: line {at}: {what}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    U32,
    Sized,
    Lis,
    Csv,
    OracleGeneral,
}

/// The format that a file name tells, and whether the file is compressed.
fn format_of(path: &Path) -> Option<(Format, bool)> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let plain = name.strip_suffix(".zst");
    let compressed = plain.is_some();
    let plain = plain.unwrap_or(&name);
    let endings = [
        (".u32", Format::U32),
        (".sized", Format::Sized),
        (".lis", Format::Lis),
        (".csv", Format::Csv),
        (".oraclegeneral", Format::OracleGeneral),
        (".oraclegeneral.bin", Format::OracleGeneral),
    ];
    let (_, format) = endings.into_iter().find(|(ending, _)| plain.ends_with(ending))?;
    Some((format, compressed))
}

/// A trace file that is open, so that a missing one is told before any work is done.
pub(crate) struct Source {
    shown: String,
    name: String,
    format: Format,
    compressed: bool,
    file: File,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, TraceError> {
        let shown = path.display().to_string();
        let Some((format, compressed)) = format_of(path) else {
            return Err(TraceError::nowhere(
                shown,
                format!("not a trace by its name; legal endings are {LEGAL}"),
            ));
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) => {
                return Err(TraceError::nowhere(shown, format!("cannot be opened: {error}")));
            }
        };
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
        Ok(Self { name: name.unwrap_or_default().to_owned(), shown, format, compressed, file })
    }

    /// The file name up to its first dot.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads the file. O(requests) time, four bytes a request and the distinct keys in memory.
    pub(crate) fn read(self) -> Result<Trace, TraceError> {
        let file = BufReader::with_capacity(1 << 16, self.file);
        let requests = if self.compressed {
            let mut input = BufReader::with_capacity(1 << 16, Zstd::new(file));
            read(&mut input, self.format, Place::Unpacked)
        } else {
            read(&mut { file }, self.format, Place::Byte)
        };
        let trace = requests.and_then(|requests| {
            requests.finish(self.name).map_err(|what| Fault { at: Place::Nowhere, what })
        });
        trace.map_err(|fault| TraceError { name: self.shown, fault })
    }
}

fn read(
    input: &mut impl BufRead,
    format: Format,
    place: fn(u64) -> Place,
) -> Result<Requests, Fault> {
    let mut requests = Requests::default();
    match format {
        Format::U32 => {
            records(input, place, |id| requests.push_key(u64::from(u32::from_le_bytes(id)), None))?;
        }
        Format::Sized => records(input, place, |record: [u8; 8]| {
            requests.push_key(little(&record[..4]), Some(little(&record[4..])))
        })?,
        Format::OracleGeneral => {
            records(input, place, |record: [u8; 24]| oracle_general(&record, &mut requests))?;
        }
        Format::Lis => lines(input, |_, line| lis(line, &mut requests))?,
        Format::Csv => {
            let mut columns = 0;
            lines(input, |number, line| csv(number, line, &mut columns, &mut requests))?;
        }
    }
    Ok(requests)
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Calls `each` for every record of `N` bytes. A piece of a record at the end is an error.
fn records<const N: usize>(
    input: &mut impl BufRead,
    place: fn(u64) -> Place,
    mut each: impl FnMut([u8; N]) -> Result<(), String>,
) -> Result<(), Fault> {
    let mut at = 0;
    loop {
        let mut record = [0; N];
        let mut filled = 0;
        while filled < N {
            let n = match input.read(&mut record[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if n == 0 {
                break;
            }
            filled += n;
        }
        match filled {
            0 => return Ok(()),
            _ if filled < N => {
                let what = format!("the data end inside a record: {filled} bytes of {N}");
                return Err(Fault { at: place(at), what });
            }
            _ => each(record).map_err(|what| Fault { at: place(at), what })?,
        }
        at += N as u64;
    }
}

fn oracle_general(record: &[u8; 24], requests: &mut Requests) -> Result<(), String> {
    // -1 is "never again", and -2 "not known".
    let next = little(&record[16..]) as i64;
    if next < -2 {
        return Err(format!("a garbled record: its next access is {next}"));
    }
    requests.push_key(little(&record[4..12]), Some(little(&record[12..16])))
}

/// Calls `each` for every line that is not blank, with its number from 1 and without its end.
fn lines(
    input: &mut impl BufRead,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), String>,
) -> Result<(), Fault> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let fault = |what| Fault { at: Place::Line(number), what };
        if line.len() as u64 == MAX_LINE {
            return Err(fault(format!("not text: a line of more than {} bytes", MAX_LINE - 1)));
        }
        let text = line.trim_ascii();
        if let Some(byte) = text.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t') {
            return Err(fault(format!("not text: it holds a byte {byte:#04x}")));
        }
        if !text.is_empty() {
            each(number, text).map_err(fault)?;
        }
    }
    Ok(())
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn shown(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    if text.chars().count() <= 40 {
        format!("{text:?}")
    } else {
        format!("{:?}...", text.chars().take(40).collect::<String>())
    }
}

fn lis(line: &[u8], requests: &mut Requests) -> Result<(), String> {
    let fields: Vec<_> =
        line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).collect();
    let &[start, n, _, _] = &fields[..] else {
        return Err(format!("{} fields where `start n _ _` has 4", fields.len()));
    };
    let Some(start) = number(start) else { return Err(format!("{} is not a start", shown(start))) };
    let Some(n) = number(n) else { return Err(format!("{} is not a count", shown(n))) };
    if n > MAX_RUN {
        return Err(format!("a count of {n} in one line; at most {MAX_RUN} is legal"));
    }
    let Some(end) = start.checked_add(n) else {
        return Err(format!("{start} and {n} more pass 2^64"));
    };
    (start..end).try_for_each(|key| requests.push_key(key, None))
}

/// `columns` is 0 until the first line has told it.
fn csv(
    line_number: u64,
    line: &[u8],
    columns: &mut usize,
    requests: &mut Requests,
) -> Result<(), String> {
    let fields: Vec<_> = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    if fields.len() > 2 || (*columns != 0 && fields.len() != *columns) {
        let legal = [
            "`key` or `key,size`",
            "`key`, as the lines before",
            "`key,size`, as the lines before",
        ];
        return Err(format!("{} fields; legal is {}", fields.len(), legal[*columns]));
    }
    *columns = fields.len();
    let (key, size) = (fields[0], fields.get(1).copied());
    let named = |field: &[u8]| field.first().is_some_and(u8::is_ascii_alphabetic);
    if line_number == 1
        && (size.is_some_and(named)
            || ["key", "id"].iter().any(|name| key.eq_ignore_ascii_case(name.as_bytes())))
    {
        return Ok(());
    }
    if key.is_empty() {
        return Err("an empty key".to_owned());
    }
    let size = match size.map(|field| number(field).ok_or(field)) {
        None => None,
        Some(Ok(size)) => Some(size),
        Some(Err(field)) => return Err(format!("{} is not a size", shown(field))),
    };
    requests.push_name(key, size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zstd::tests::pack;

    fn plain(format: Format, data: &[u8]) -> Result<Trace, String> {
        let text = |fault| TraceError { name: "T".to_owned(), fault }.to_string();
        read(&mut &data[..], format, Place::Byte).map_err(text)?.finish("T".to_owned())
    }

    fn packed(format: Format, file: &[u8]) -> Result<Trace, String> {
        let text = |fault| TraceError { name: "T".to_owned(), fault }.to_string();
        read(&mut BufReader::new(Zstd::new(file)), format, Place::Unpacked)
            .map_err(text)?
            .finish("T".to_owned())
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn oracle(time: u32, id: u64, size: u32, next: i64) -> Vec<u8> {
        [&time.to_le_bytes()[..], &id.to_le_bytes(), &size.to_le_bytes(), &next.to_le_bytes()]
            .concat()
    }

    /// Both forms of a file hold the same trace.
    fn both(format: Format, data: &[u8], ids: &[u32], sizes: Option<&[u64]>) {
        for trace in [plain(format, data), packed(format, &pack(data))] {
            let trace = trace.expect("well formed");
            assert_eq!((&trace.ids[..], trace.sizes.as_deref()), (ids, sizes), "{format:?}");
            assert_eq!(trace.distinct(), ids.iter().max().map_or(0, |max| u64::from(*max) + 1));
        }
    }

    #[test]
    fn slices_are_all_there_is_and_nearly_of_a_length() {
        for (length, count) in [(10, 1), (10, 3), (10, 10), (1_000, 7), (3, 5)] {
            let all: Vec<_> = (0..length).collect();
            let slices: Vec<_> = slices(&all, count).collect();
            assert_eq!((&slices.concat(), slices.len()), (&all, count));
            let short = length / count;
            assert!(slices.iter().all(|slice| slice.len() == short || slice.len() == short + 1));
        }
    }

    #[test]
    fn every_format_reads_back() {
        both(Format::U32, &words(&[0, 1, 0, 2]), &[0, 1, 0, 2], None);
        both(Format::U32, &words(&[0, 1, 9, 1, 9, 2, 0]), &[0, 1, 2, 1, 2, 3, 0], None);
        both(Format::Sized, &words(&[0, 512, 1, 7, 0, 1024]), &[0, 1, 0], Some(&[1024, 7]));
        both(Format::Lis, b"10 3 0 0\n11 1 0 1\r\n\n12 2 0 2", &[0, 1, 2, 1, 2, 3], None);
        both(Format::Csv, b"key\na\nb\na\n", &[0, 1, 0], None);
        both(Format::Csv, b"key,size\na,5\n b , 6\na,7\n", &[0, 1, 0], Some(&[7, 6]));
        both(Format::Csv, b"17,5\n4,6\n17,5", &[0, 1, 0], Some(&[5, 6]));
        let data =
            [oracle(1, 1 << 40, 10, 3), oracle(1, 5, 20, -1), oracle(2, 1 << 40, 30, -1)].concat();
        both(Format::OracleGeneral, &data, &[0, 1, 0], Some(&[30, 20]));
    }

    #[test]
    fn each_id_has_its_last_size_everywhere() {
        let trace = plain(Format::Sized, &words(&[0, 512, 1, 7, 0, 1024])).expect("well formed");
        assert_eq!((trace.weight(), trace.bytes()), (1031, Some(2055)));
        let trace = plain(Format::U32, &words(&[0, 1, 0])).expect("well formed");
        assert_eq!((trace.weight(), trace.bytes()), (2, None));
    }

    #[test]
    fn a_piece_of_a_record_is_told_with_its_byte() {
        let error = plain(Format::U32, &[0, 0, 0, 0, 1]).expect_err("cut");
        assert_eq!(error, "T: at byte 4: the data end inside a record: 1 bytes of 4");
        let error = plain(Format::Sized, &words(&[0, 1, 1])).expect_err("cut");
        assert_eq!(error, "T: at byte 8: the data end inside a record: 4 bytes of 8");
        let error =
            packed(Format::OracleGeneral, &pack(&oracle(1, 2, 3, -1)[..23])).expect_err("cut");
        assert_eq!(
            error,
            "T: at byte 0 of the decompressed data: the data end inside a record: 23 bytes of 24"
        );
    }

    #[test]
    fn a_damaged_zstd_stream_is_told_with_its_byte_in_the_file() {
        let file = pack(&words(&[0, 1, 2, 3]));
        for format in [Format::U32, Format::Sized, Format::Lis, Format::Csv, Format::OracleGeneral]
        {
            let cut = file.len() - 1;
            let error = packed(format, &file[..cut]).expect_err("cut");
            assert!(
                error.starts_with(&format!("T: at byte {cut}: the file ends inside a zstd")),
                "{error}"
            );
            assert!(
                packed(format, b"garbage").expect_err("garbled").starts_with("T: at byte 0: "),
                "{format:?}"
            );
        }
    }

    #[test]
    fn garbled_records_and_lines_are_told_with_their_place() {
        let says = |format, data: &[u8], expected: &str| {
            let error = plain(format, data).expect_err("garbled");
            assert!(error.contains(expected), "{error} lacks {expected}");
        };
        let record = [oracle(1, 2, 3, 2), oracle(1, 2, 3, i64::MIN)].concat();
        says(Format::OracleGeneral, &record, "at byte 24: a garbled record");
        says(Format::Lis, b"1 2 0 0\n1 2\n", "line 2: 2 fields where `start n _ _` has 4");
        says(Format::Lis, b"one 2 0 0\n", "line 1: \"one\" is not a start");
        says(Format::Lis, b"1 -2 0 0\n", "line 1: \"-2\" is not a count");
        says(Format::Lis, b"1 99999999999 0 0\n", "line 1: a count of 99999999999");
        says(Format::Lis, b"18446744073709551615 2 0 0\n", "line 1: ");
        says(Format::Csv, b"a,1\nb,x1\n", "line 2: \"x1\" is not a size");
        says(Format::Csv, b"a,1\nb\n", "line 2: 1 fields; legal is `key,size`");
        says(Format::Csv, b"a\nb,1\n", "line 2: 2 fields; legal is `key`,");
        says(Format::Csv, b"a,1,2\n", "line 1: 3 fields");
        says(Format::Csv, b"a,1\n,2\n", "line 2: an empty key");
        says(Format::Csv, b"a\nb\0c\n", "line 2: not text: it holds a byte 0x00");
        says(Format::Csv, &[b'x'; 1 << 17], "line 1: not text: a line of more than");
        for format in [Format::U32, Format::Lis, Format::Csv] {
            says(format, b"", "no requests");
        }
    }

    #[test]
    fn a_name_tells_the_format() {
        let of = |name: &str| format_of(Path::new(name));
        assert_eq!(of("d/OLTP.u32.zst"), Some((Format::U32, true)));
        assert_eq!(of("c.sized"), Some((Format::Sized, false)));
        assert_eq!(of("P3.lis.zst"), Some((Format::Lis, true)));
        assert_eq!(of("x.CSV"), Some((Format::Csv, false)));
        assert_eq!(of("w.oracleGeneral.bin.zst"), Some((Format::OracleGeneral, true)));
        assert_eq!(of("w.oracleGeneral.zst"), Some((Format::OracleGeneral, true)));
        assert_eq!([of("trace"), of("u32"), of("a.zst"), of("..")], [None; 4]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = Path::new("no-such-folder/no-such.u32.zst");
        let error = Source::open(missing).err().expect("missing").to_string();
        assert!(error.starts_with("no-such-folder/no-such.u32.zst: cannot be opened: "), "{error}");
        let error = Source::open(Path::new("notes.txt")).err().expect("no format").to_string();
        assert!(error.contains(".oracleGeneral"), "{error}");
    }
}
