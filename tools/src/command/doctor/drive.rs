//! The drive under a dataset, a directory or a file.

use std::path::{Path, PathBuf};

use ringtake_storage::dataset::dir_path;
use ringtake_storage::manifest::{MANIFEST_NAME, Manifest};

use super::check::Check;
use crate::device::{Device, DirectAlignment, direct_alignment};
use crate::failure::Failure;

/// Largest read that the drive should take whole; the kernel splits larger ones.
const MAX_SECTORS_WANTED_KIB: u64 = 64;

/// Findings for every data directory of a dataset, or for the one path.
pub(super) fn checks(path: &Path) -> Result<Vec<Check>, Failure> {
    path.metadata().map_err(Failure::io("look at", path))?;
    if !path.join(MANIFEST_NAME).exists() {
        return Ok(on(path, &probe_file(path)));
    }
    let manifest = Manifest::read(path)?;
    let layout = &manifest.layout;
    let mut checks = Vec::new();
    for dir in 0..layout.dirs.len() {
        let directory = dir_path(path, layout, dir);
        let file = layout
            .groups
            .first()
            .map(|group| directory.join(group.file_name(0)));
        checks.extend(on(&directory, &file.map_or(Probe::None, Probe::File)));
    }
    Ok(checks)
}

/// A regular file whose alignment for direct reads the kernel reports.
enum Probe {
    File(PathBuf),
    /// A temporary file, removed on drop.
    Made(tempfile::NamedTempFile),
    None,
}

fn probe_file(path: &Path) -> Probe {
    if path.is_file() {
        return Probe::File(path.to_owned());
    }
    let made = tempfile::Builder::new()
        .prefix(".ringtake-doctor-")
        .tempfile_in(path);
    made.map_or(Probe::None, Probe::Made)
}

fn on(path: &Path, probe: &Probe) -> Vec<Check> {
    let shown = path.display();
    let mut checks = Vec::new();
    match Device::under(path) {
        Some(device) => checks.extend(of_device(&device)),
        None => checks.push(Check::warn(
            "device",
            format!("{shown} has no block device of its own, as on tmpfs or an overlay"),
            "put datasets on a file system of an NVMe drive, such as ext4 or xfs",
        )),
    }
    let file = match probe {
        Probe::File(file) => Some(file.as_path()),
        Probe::Made(file) => Some(file.path()),
        Probe::None => None,
    };
    const TOPIC: &str = "direct-io";
    checks.push(match file.map(direct_alignment) {
        Some(DirectAlignment::Bytes(bytes)) => {
            Check::ok(TOPIC, format!("direct reads in multiples of {bytes} bytes"))
        }
        Some(DirectAlignment::Unsupported) => Check::warn(
            TOPIC,
            format!(
                "the file system of {shown} has no direct reads; rows go through the page cache"
            ),
            "put datasets on ext4 or xfs",
        ),
        Some(DirectAlignment::Unknown) => Check::warn(
            TOPIC,
            "the kernel does not say how direct reads must be aligned; 4096 bytes are assumed",
            "upgrade to Linux 6.1 or newer",
        ),
        None => Check::warn(
            TOPIC,
            format!("{shown} cannot be written, so its alignment is unknown"),
            "name a file instead",
        ),
    });
    checks
}

fn of_device(device: &Device) -> Vec<Check> {
    let Device {
        name,
        logical_block_bytes,
        scheduler,
        read_ahead_kib,
        max_sectors_kib,
        rotational,
    } = device;
    let mut checks = vec![match (rotational, logical_block_bytes) {
        (Some(true), _) if !name.starts_with("vd") => Check::warn(
            "device",
            format!("{name} is a rotating disk: about a hundred random reads/s"),
            "put datasets on an NVMe drive",
        ),
        (_, Some(bytes)) => Check::ok("device", format!("{name}, logical blocks of {bytes} bytes")),
        (_, None) => Check::ok("device", name.clone()),
    }];
    match scheduler.as_deref() {
        None => {}
        Some("none") => checks.push(Check::ok("scheduler", format!("{name}: none"))),
        Some(other) => checks.push(Check::warn(
            "scheduler",
            format!("{name}: {other} costs CPU on each read"),
            format!("echo none | sudo tee /sys/block/{name}/queue/scheduler"),
        )),
    }
    if let Some(kib) = read_ahead_kib {
        // Direct reads do not read ahead; only the page cache does.
        checks.push(Check::ok(
            "read-ahead",
            format!("{name}: {kib} KiB, without effect on direct reads"),
        ));
    }
    if let Some(kib) = max_sectors_kib {
        checks.push(if *kib < MAX_SECTORS_WANTED_KIB { Check::warn(
                "max-sectors",
                format!("{name}: reads above {kib} KiB are cut"),
                format!(
                    "echo {MAX_SECTORS_WANTED_KIB} | sudo tee /sys/block/{name}/queue/max_sectors_kb"
                ),
            ) } else { Check::ok("max-sectors", format!("{name}: reads up to {kib} KiB stay whole")) });
    }
    checks
}
