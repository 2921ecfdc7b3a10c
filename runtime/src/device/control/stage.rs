//! The loop of a thread that only reads: it takes reads from a source, drives a read path with them
//! and returns the completions.
//!
//! A shared ring is such a thread, and so is the I/O stage of the scheduler of a task per read.

use std::io;
use std::time::Duration;

use crate::device::read_path::{
    Completion, DRAIN_TIME_MAX, FULL_QUEUE_SHARE, Read, ReadPath, Wait,
};
use crate::doorbell::Doorbell;

/// A source of reads, to which their completions return. Threads that add reads ring the stage's
/// doorbell.
///
/// # Safety
/// A read that `next` returns is the stage's until `complete` gets a completion with its token:
/// its buffer has room for its bytes, stays where it is, and no other code reads, writes or frees it.
/// No other read of the source has that token meanwhile.
pub(crate) unsafe trait ReadSource {
    /// Takes the next read that may be submitted now.
    fn next(&mut self) -> Option<Read>;

    /// Whether `next` would return a read.
    fn is_waiting(&self) -> bool;

    /// Takes a completion of a read from `next`.
    fn complete(&mut self, completion: Completion);

    /// Called after the last completion of a turn.
    fn flush(&mut self) {}

    /// Whether the source has ended.
    fn is_over(&self) -> bool;
}

/// The longest sleep; the doorbell ends it.
const SLEEP: Duration = Duration::from_millis(500);
/// How often a stage that ends waits for reads in flight before it leaves them to the kernel. The
/// owner of their memory has given it up by then.
const DRAIN_ATTEMPTS: u128 = DRAIN_TIME_MAX.as_millis() / SLEEP.as_millis();

/// Drives `path`, with at most `queue_depth` reads in flight, until the source has ended.
///
/// # Errors
/// The path is broken; reads in flight may still write their buffers.
pub(crate) fn drive(
    path: &mut dyn ReadPath,
    work: &mut dyn ReadSource,
    doorbell: &Doorbell,
    queue_depth: u32,
) -> io::Result<()> {
    let mut completions = Vec::with_capacity(queue_depth as usize);
    let (mut in_flight, mut attempts) = (0, 0);
    loop {
        while in_flight < queue_depth
            && let Some(read) = work.next()
        {
            // SAFETY: the buffer is the read's until its completion, as `ReadSource` promises;
            // the completion goes to the owner below, after the path has returned it.
            unsafe { path.queue(read) };
            in_flight += 1;
        }
        if work.is_over() {
            if in_flight == 0 || attempts == DRAIN_ATTEMPTS {
                return Ok(());
            }
            attempts += 1;
        }
        turn(
            path,
            work,
            doorbell,
            in_flight,
            queue_depth,
            &mut completions,
        )?;
        in_flight -= completions.len() as u32;
        if completions.is_empty() {
            continue;
        }
        attempts = 0;
        for completion in completions.drain(..) {
            work.complete(completion);
        }
        work.flush();
    }
}

/// Takes one turn: a single system call submits the queued reads and, if no more are waiting,
/// waits for completions.
fn turn(
    path: &mut dyn ReadPath,
    work: &dyn ReadSource,
    doorbell: &Doorbell,
    in_flight: u32,
    queue_depth: u32,
    completions: &mut Vec<Completion>,
) -> io::Result<()> {
    let wait = |wanted| Wait::For {
        completions: wanted,
        timeout: SLEEP,
    };
    if in_flight == queue_depth {
        return path.turn(wait((in_flight / FULL_QUEUE_SHARE).max(1)), completions);
    }
    doorbell.lie_down();
    let idle = !work.is_waiting() && (in_flight > 0 || !work.is_over());
    let turned = path.turn(if idle { wait(1) } else { Wait::No }, completions);
    doorbell.get_up();
    turned
}
