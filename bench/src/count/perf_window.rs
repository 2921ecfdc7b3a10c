//! Switches the perf that started this process on and off for the measured window.
//!
//! One for the whole process, as perf's control is: `perf record --control` (perf-record(1)) reads
//! `enable` and `disable` from one FIFO and answers in another.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::Error;

struct Control {
    to_perf: File,
    from_perf: BufReader<File>,
}

static CONTROL: OnceLock<Mutex<Control>> = OnceLock::new();

/// Opens the FIFOs: the one that perf listens on, and the one that it answers on.
pub(crate) fn open(fifos: &[PathBuf]) -> Result<(), Error> {
    let [commands, answers] = fifos else {
        unreachable!("the command line asks for two");
    };
    let to_perf = OpenOptions::new().write(true).open(commands);
    let to_perf = to_perf.map_err(Error::io("write to", commands))?;
    let from_perf = File::open(answers).map_err(Error::io("read", answers))?;
    let _ = CONTROL.set(Mutex::new(Control {
        to_perf,
        from_perf: BufReader::new(from_perf),
    }));
    Ok(())
}

/// The measured window begins.
pub(crate) fn begin() {
    send("enable");
}

/// The measured window ends.
pub(crate) fn end() {
    send("disable");
}

/// A perf that has gone away is no reason to stop measuring.
fn send(command: &str) {
    let Some(control) = CONTROL.get() else {
        return;
    };
    let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
    if writeln!(control.to_perf, "{command}").is_ok() {
        let mut answer = String::new();
        let _ = control.from_perf.read_line(&mut answer);
    }
}
