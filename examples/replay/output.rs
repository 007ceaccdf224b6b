//! Everything that hears of a cell: the table on standard output, the files, and the comparison with a reference.

use crate::args::Args;
use crate::page;
use crate::report::{self, Reference};
use crate::run::{Cell, Check};
use crate::trace::Trace;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// A file to write to, made before any work is done.
struct Sink {
    shown: String,
    file: File,
}

impl Sink {
    fn new(path: &Path) -> Result<Self, String> {
        let shown = path.display().to_string();
        let file =
            File::create(path).map_err(|error| format!("{shown}: cannot be made: {error}"))?;
        Ok(Self { shown, file })
    }

    fn write(&self, text: &str) -> Result<(), String> {
        (&self.file)
            .write_all(text.as_bytes())
            .map_err(|error| format!("{}: cannot be written: {error}", self.shown))
    }
}

/// Everything that hears of a cell.
pub(crate) struct Output {
    bar: ProgressBar,
    /// The width of the longest trace name.
    names: usize,
    begun: bool,
    /// Requests a second of the cache's clock.
    rate: u32,
    /// Cells at a time.
    jobs: usize,
    /// False once the reader of standard output is gone.
    heard: bool,
    csv: Option<Sink>,
    html: Option<Sink>,
    /// What the page and the tables over time will show.
    cells: Vec<Cell>,
    check: Option<Reference>,
    compared: u64,
    differing: Vec<String>,
}

impl Output {
    pub(crate) fn new(args: &Args, names: usize, check: Option<Reference>) -> Result<Self, String> {
        let csv = args.csv.as_deref().map(Sink::new).transpose()?;
        if let Some(csv) = &csv {
            csv.write(&format!("{}\n", report::CSV_HEADER))?;
        }
        let html = args.html.as_deref().map(Sink::new).transpose()?;
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}%, {eta} left") {
            bar.set_style(style);
        }
        let names = names.max("trace".len());
        Ok(Self {
            bar,
            names,
            begun: false,
            rate: args.rate,
            jobs: args.jobs(),
            heard: true,
            csv,
            html,
            cells: Vec::new(),
            check,
            compared: 0,
            differing: Vec::new(),
        })
    }

    /// A trace is being read.
    pub(crate) fn reads(&self, name: &str) {
        self.bar.set_message(format!("reading {name}"));
    }

    /// So many requests follow; the bar to count them with.
    pub(crate) fn begin(&self, requests: u64) -> ProgressBar {
        self.bar.set_length(requests);
        self.bar.set_position(0);
        self.bar.clone()
    }

    /// To standard error, around the progress bar.
    pub(crate) fn complain(&self, what: &str) {
        self.bar.suspend(|| crate::complain(what));
    }

    /// The capacities that the reference has for a trace.
    pub(crate) fn known(&self, trace: &Trace) -> Vec<u64> {
        let check = self.check.as_ref();
        check.map(|check| check.capacities(&trace.name, trace.sizes.is_some())).unwrap_or_default()
    }

    pub(crate) fn cell(&mut self, cell: Cell, check: Check) -> Result<(), String> {
        if !self.begun {
            self.begun = true;
            self.say(&report::clock(self.rate, self.jobs))?;
            self.say(&report::header(self.names))?;
        }
        self.say(&report::row(self.names, &cell))?;
        if let Some(csv) = &self.csv {
            csv.write(&format!("{}\n", report::csv_row(&cell)))?;
        }
        let found = self.check.as_ref().and_then(|reference| reference.differences(&cell, check));
        if let Some(differences) = found {
            self.compared += 1;
            self.differing.extend(Some(differences).filter(|text| !text.is_empty()));
        }
        self.cells.push(cell);
        Ok(())
    }

    /// The tables over time: one for each trace and capacity.
    fn over_time(&mut self) -> Result<(), String> {
        let cells = std::mem::take(&mut self.cells);
        for group in page::rows(&cells).filter(|group| group[0].over_time.len() > 1) {
            self.say("")?;
            for line in report::over_time(group) {
                self.say(&line)?;
            }
        }
        self.cells = cells;
        Ok(())
    }

    /// A line to standard output, around the progress bar. A closed pipe is no error.
    fn say(&mut self, line: &str) -> Result<(), String> {
        if !self.heard {
            return Ok(());
        }
        match self.bar.suspend(|| writeln!(io::stdout(), "{line}")) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.heard = false,
            other => {
                other.map_err(|error| format!("standard output cannot be written: {error}"))?;
            }
        }
        Ok(())
    }

    /// Nobody would notice if the run stopped here.
    pub(crate) const fn is_unheard(&self) -> bool {
        !self.heard && self.csv.is_none() && self.html.is_none() && self.check.is_none()
    }

    pub(crate) fn finish(mut self) -> Result<ExitCode, String> {
        self.bar.finish_and_clear();
        self.over_time()?;
        if let Some(html) = &self.html {
            html.write(&page::page(&self.cells))?;
        }
        if self.check.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        for line in std::mem::take(&mut self.differing) {
            self.say(&format!("DIFFERS: {line}"))?;
            self.differing.push(line);
        }
        self.say(&format!(
            "check: {} cells compared, {} differ",
            self.compared,
            self.differing.len()
        ))?;
        let good = self.compared > 0 && self.differing.is_empty();
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}
