//! The block device under a file, as the kernel describes it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags, major, minor, statx};
use serde::Serialize;

/// Description of the device that holds a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Device {
    /// Name of the whole disk, such as `nvme0n1`.
    pub(crate) name: String,
    pub(crate) logical_block_bytes: Option<u64>,
    pub(crate) scheduler: Option<String>,
    pub(crate) read_ahead_kib: Option<u64>,
    pub(crate) max_sectors_kib: Option<u64>,
    pub(crate) rotational: Option<bool>,
}

impl Device {
    /// The device under `path`; `None` if the file system has no device of its own, such as tmpfs
    /// or an overlay.
    pub(crate) fn under(path: &Path) -> Option<Device> {
        let number = fs::metadata(path).ok()?.dev();
        let link = format!("/sys/dev/block/{}:{}", major(number), minor(number));
        let partition_or_disk = fs::canonicalize(link).ok()?;
        // The queue belongs to the disk, which is the parent of a partition.
        let disk: PathBuf = partition_or_disk
            .ancestors()
            .take(2)
            .find(|directory| directory.join("queue").is_dir())?
            .to_owned();
        let read = |name: &str| {
            fs::read_to_string(disk.join("queue").join(name))
                .ok()
                .map(|text| text.trim().to_owned())
        };
        let number = |name: &str| read(name)?.parse().ok();
        Some(Device {
            name: disk.file_name()?.to_string_lossy().into_owned(),
            logical_block_bytes: number("logical_block_size"),
            scheduler: read("scheduler").as_deref().and_then(chosen_scheduler),
            read_ahead_kib: number("read_ahead_kb"),
            max_sectors_kib: number("max_sectors_kb"),
            rotational: number("rotational").map(|value| value != 0),
        })
    }
}

/// The scheduler in brackets in `none [mq-deadline] kyber`.
fn chosen_scheduler(text: &str) -> Option<String> {
    let chosen = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    // A device without a choice has one word without brackets.
    chosen
        .or_else(|| Some(text).filter(|text| !text.is_empty() && !text.contains(' ')))
        .map(str::to_owned)
}

/// The alignment of direct reads from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirectAlignment {
    /// Offset and length must be multiples of this number of bytes.
    Bytes(u32),
    /// The file cannot be read directly.
    Unsupported,
    /// The kernel (before 6.1) or the file system does not report it.
    Unknown,
}

/// Asks the kernel about a regular file.
pub(crate) fn direct_alignment(file: &Path) -> DirectAlignment {
    let answer = statx(
        rustix::fs::CWD,
        file,
        AtFlags::empty(),
        StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN,
    );
    match answer {
        Ok(facts) if facts.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => {
            match facts.stx_dio_offset_align {
                0 => DirectAlignment::Unsupported,
                bytes => DirectAlignment::Bytes(bytes),
            }
        }
        _ => DirectAlignment::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_in_use_is_the_one_in_brackets() {
        for (text, expected) in [
            ("[none] mq-deadline kyber", Some("none")),
            ("none [mq-deadline] kyber", Some("mq-deadline")),
            ("none", Some("none")),
            ("", None),
            ("none mq-deadline", None),
        ] {
            assert_eq!(chosen_scheduler(text).as_deref(), expected, "{text}");
        }
    }
}
