//! `bench profile`: a workload run under perf, with its record and flame graphs in one folder.
//!
//! The workload runs in a process of its own, which switches perf on for its measured windows
//! (`count/perf_window.rs`). `profile/perf.rs` runs perf, `profile/stacks.rs` assigns stacks to
//! stages.

mod perf;
mod stacks;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;
use inferno::flamegraph::color::{MultiPalette, Palette};

use crate::error::Error;
use crate::interrupt;
use crate::tell::page;
use perf::{Fifos, Perf};

const RECORD: &str = page::PROFILED;
const REPORT: &str = "report.html";
const PERF_DATA: &str = "perf.data";
const FOLDED: &str = "stacks.folded";
/// In pixels.
const IMAGE_WIDTH: usize = 1200;

pub(crate) const EXAMPLES: &str = "\
Examples:
  bench profile -- file-read --dataset vectors --cache warm --seconds 10
  bench profile -o search -- vector-search --dataset vectors --nprobes 20

Writes record.json, report.html, and, where perf is installed and permitted, a flame graph of the
whole and one of each stage. Only the measured windows are recorded, all of them together.";

/// Flags of `bench profile`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProfileArgs {
    /// The folder to write
    #[arg(long, short, value_name = "DIR", default_value = "profile")]
    output: PathBuf,
    /// Replace an earlier profile there
    #[arg(long)]
    overwrite: bool,
    /// Samples a second of each CPU
    #[arg(long, value_name = "HZ", default_value = "499", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    frequency: u32,
    /// Keep perf's own file, for `perf report`
    #[arg(long)]
    keep_perf_data: bool,
    /// The workload, as after `bench`: file-read, vector-search, ceiling or quick, with its flags
    #[arg(
        value_name = "WORKLOAD",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) workload: Vec<OsString>,
}

/// Runs the workload and writes the folder; returns the exit status of the workload.
///
/// `counters` are flags that the workload takes beside its own.
pub(crate) fn run(
    args: &ProfileArgs,
    counters: &[&str],
    interrupted: &AtomicBool,
) -> Result<ExitCode, Error> {
    let mut workload = args.workload.clone();
    if !workload.iter().any(|word| word == "--skip-metrics") {
        workload.extend(counters.iter().map(OsString::from));
    }
    let dir = prepare(args)?;
    let perf = Perf::probe();
    if let Err(reason) = &perf {
        eprintln!("warning: {reason}");
    }
    let status = measure(perf.as_ref().ok(), args, &workload, &dir)?;
    let data = dir.join(PERF_DATA);
    if data.exists() {
        eprintln!("drawing");
        draw(&data, &dir)?;
        if !args.keep_perf_data {
            fs::remove_file(&data).map_err(Error::io("remove", &data))?;
        }
        if let Some(words) = perf::kernel_without_names() {
            eprintln!("warning: {words}");
        }
    }
    let record = dir.join(RECORD);
    if record.exists() {
        page::write(&[record], &dir.join(REPORT))?;
    }
    match (status.success(), interrupted.load(Ordering::Relaxed)) {
        (true, _) => Ok(ExitCode::SUCCESS),
        (false, true) => Ok(ExitCode::from(interrupt::EXIT_STATUS)),
        (false, false) => Err(Error::WorkloadFailed { status, path: dir }),
    }
}

/// The folder, empty, by its whole path.
fn prepare(args: &ProfileArgs) -> Result<PathBuf, Error> {
    let dir = &args.output;
    fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    let files: Vec<PathBuf> = fs::read_dir(dir)
        .and_then(|files| files.map(|file| Ok(file?.path())).collect())
        .map_err(Error::io("read", dir))?;
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        [RECORD, REPORT, PERF_DATA, FOLDED].contains(&&*name)
            || (name.starts_with("flamegraph-") && name.ends_with(".svg"))
    };
    let free = files.is_empty() || (args.overwrite && files.iter().all(ours));
    if !free {
        return Err(Error::FolderInUse { path: dir.clone() });
    }
    for file in files {
        fs::remove_file(&file).map_err(Error::io("remove", &file))?;
    }
    dir.canonicalize().map_err(Error::io("find", dir))
}

/// Runs the workload, under perf if there is one.
fn measure(
    perf: Option<&Perf>,
    args: &ProfileArgs,
    workload: &[OsString],
    dir: &Path,
) -> Result<ExitStatus, Error> {
    let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
    let fifos = Fifos::make().map_err(Error::io("make a pipe in", std::env::temp_dir()))?;
    let mut command = match perf {
        Some(perf) => {
            let mut command = perf.record(&dir.join(PERF_DATA), args.frequency, &fifos);
            command.arg(program);
            command.args(workload);
            command.arg("--perf-control");
            command.args([&fifos.commands, &fifos.answers]);
            command
        }
        None => {
            let mut command = Command::new(program);
            command.args(workload);
            command
        }
    };
    command.arg("--json").arg(dir.join(RECORD));
    command.status().map_err(Error::io("run", "perf"))
}

/// Folds the stacks, and draws all of them and those of each stage.
fn draw(data: &Path, dir: &Path) -> Result<(), Error> {
    let path = dir.join(FOLDED);
    let folded = fold(data).map_err(Error::io("read", data))?;
    fs::write(&path, &folded).map_err(Error::io("write", &path))?;
    if folded.is_empty() {
        eprintln!(
            "warning: perf has no sample of the measured window, so there are no flame graphs; \
             measure longer, or ask for more with --frequency"
        );
    }
    let all: Vec<String> = folded.lines().map(str::to_owned).collect();
    picture(&dir.join("flamegraph-all.svg"), "All threads", &all)?;
    for (stage, function) in stacks::STAGES {
        let below = stacks::below(&folded, function);
        let path = dir.join(format!("flamegraph-{stage}.svg"));
        picture(&path, &format!("Shards: {stage}"), &below)?;
    }
    Ok(())
}

fn fold(data: &Path) -> std::io::Result<String> {
    let mut script = Perf::script(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut options = inferno::collapse::perf::Options::default();
    options.annotate_kernel = true;
    let mut folded = Vec::new();
    if let Some(output) = script.stdout.take() {
        Folder::from(options).collapse(BufReader::new(output), &mut folded)?;
    }
    script.wait()?;
    Ok(String::from_utf8_lossy(&folded).into_owned())
}

/// A flame graph of folded stacks; none if there are none.
fn picture(path: &Path, title: &str, stacks: &[String]) -> Result<(), Error> {
    if stacks.is_empty() {
        return Ok(());
    }
    let mut options = inferno::flamegraph::Options::default();
    options.title = title.to_owned();
    options.colors = Palette::Multi(MultiPalette::Rust);
    options.deterministic = true;
    // One that fits itself to its frame cannot be drawn in a frame that is not open.
    options.image_width = Some(IMAGE_WIDTH);
    let file = File::create(path).map_err(Error::io("write", path))?;
    let lines = stacks.iter().map(String::as_str);
    inferno::flamegraph::from_lines(&mut options, lines, file).map_err(Error::io("draw", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn args(dir: &Path, overwrite: bool) -> ProfileArgs {
        ProfileArgs {
            output: dir.to_path_buf(),
            overwrite,
            frequency: 99,
            keep_perf_data: false,
            workload: vec!["plan".into(), "--cores".into(), "1".into()],
        }
    }

    #[test]
    fn folder_of_something_else_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("profile");
        let emptied = prepare(&args(&dir, false)).unwrap();
        fs::write(emptied.join(RECORD), "{}").unwrap();
        let in_use = |overwrite| {
            matches!(
                prepare(&args(&dir, overwrite)),
                Err(Error::FolderInUse { .. })
            )
        };
        assert!(in_use(false) && emptied.join(RECORD).exists());
        fs::write(emptied.join("flamegraph-all.svg"), "").unwrap();
        fs::write(emptied.join("mine.txt"), "").unwrap();
        assert!(in_use(true) && emptied.join(RECORD).exists());
        fs::remove_file(emptied.join("mine.txt")).unwrap();
        prepare(&args(&dir, true)).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn picture_is_drawn_of_stacks_and_not_of_none() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("flamegraph-plan.svg");
        picture(&path, "plan", &[]).unwrap();
        assert!(!path.exists());
        picture(&path, "plan", &["a;b 3".to_owned(), "a;c 1".to_owned()]).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        assert!(svg.contains("<svg") && svg.contains("plan") && svg.contains("75.00%"));
    }
}
