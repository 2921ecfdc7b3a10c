//! The drive under a dataset, a directory or a file.

use std::path::{Path, PathBuf};

use ringtake_storage::dataset::dir_path;
use ringtake_storage::manifest::{MANIFEST_NAME, Manifest};

use super::finding::Finding;
use crate::device::{Device, DirectAlignment, direct_alignment};
use crate::failure::Failure;

/// Largest read that the drive should take whole; the kernel splits larger ones.
const MAX_SECTORS_WANTED_KIB: u64 = 64;

/// Findings for every data directory of a dataset, or for the one path.
pub(super) fn findings(path: &Path) -> Result<Vec<Finding>, Failure> {
    path.metadata().map_err(Failure::io("look at", path))?;
    if !path.join(MANIFEST_NAME).exists() {
        return Ok(on(path, &probe_file(path)));
    }
    let manifest = Manifest::read(path)?;
    let layout = &manifest.layout;
    let mut findings = Vec::new();
    for dir in 0..layout.dirs.len() {
        let directory = dir_path(path, layout, dir);
        let file = layout
            .groups
            .first()
            .map(|group| directory.join(group.file_name(0)));
        findings.extend(on(&directory, &file.map_or(Probe::None, Probe::File)));
    }
    Ok(findings)
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

fn on(path: &Path, probe: &Probe) -> Vec<Finding> {
    let shown = path.display();
    let mut findings = Vec::new();
    match Device::under(path) {
        Some(device) => findings.extend(of_device(&device)),
        None => findings.push(Finding::warn(
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
    findings.push(match file.map(direct_alignment) {
        Some(DirectAlignment::Bytes(bytes)) => {
            Finding::ok(TOPIC, format!("direct reads in multiples of {bytes} bytes"))
        }
        Some(DirectAlignment::Unsupported) => Finding::warn(
            TOPIC,
            format!(
                "the file system of {shown} has no direct reads; rows go through the page cache"
            ),
            "put datasets on ext4 or xfs",
        ),
        Some(DirectAlignment::Unknown) => Finding::warn(
            TOPIC,
            "the kernel does not say how direct reads must be aligned; 4096 bytes are assumed",
            "upgrade to Linux 6.1 or newer",
        ),
        None => Finding::warn(
            TOPIC,
            format!("{shown} cannot be written, so its alignment is unknown"),
            "name a file instead",
        ),
    });
    findings
}

fn of_device(device: &Device) -> Vec<Finding> {
    let Device {
        name,
        logical_block_bytes,
        scheduler,
        read_ahead_kib,
        max_sectors_kib,
        rotational,
    } = device;
    let mut findings = vec![match (rotational, logical_block_bytes) {
        (Some(true), _) if !name.starts_with("vd") => Finding::warn(
            "device",
            format!("{name} is a rotating disk: about a hundred random reads/s"),
            "put datasets on an NVMe drive",
        ),
        (_, Some(bytes)) => {
            Finding::ok("device", format!("{name}, logical blocks of {bytes} bytes"))
        }
        (_, None) => Finding::ok("device", name.clone()),
    }];
    match scheduler.as_deref() {
        None => {}
        Some("none") => findings.push(Finding::ok("scheduler", format!("{name}: none"))),
        Some(other) => findings.push(Finding::warn(
            "scheduler",
            format!("{name}: {other} costs CPU on each read"),
            format!("echo none | sudo tee /sys/block/{name}/queue/scheduler"),
        )),
    }
    if let Some(kib) = read_ahead_kib {
        // Direct reads do not read ahead; only the page cache does.
        findings.push(Finding::ok(
            "read-ahead",
            format!("{name}: {kib} KiB, without effect on direct reads"),
        ));
    }
    if let Some(kib) = max_sectors_kib {
        findings.push(if *kib < MAX_SECTORS_WANTED_KIB { Finding::warn(
                "max-sectors",
                format!("{name}: reads above {kib} KiB are cut"),
                format!(
                    "echo {MAX_SECTORS_WANTED_KIB} | sudo tee /sys/block/{name}/queue/max_sectors_kb"
                ),
            ) } else { Finding::ok("max-sectors", format!("{name}: reads up to {kib} KiB stay whole")) });
    }
    findings
}
