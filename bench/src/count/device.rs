//! The block devices that hold given files, and their counters of reads.
//!
//! Owns the way from a file to the device its file system is on, and the
//! numbers the kernel keeps for that device. `record/proof.rs` judges what they
//! prove. The counters belong to the whole machine: every program that
//! reads the device moves them.
//!
//! The counters are read where the file system is mounted (a partition, a
//! device-mapper or md device, a whole drive), because that is what the reads of
//! the files meet first. The drives below it are described, not counted.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The unit of every sector count the kernel prints, whatever the drive's own.
const SECTOR_BYTES: u64 = 512;

const SYSFS: &str = "/sys/dev/block";

/// Why no device could be found or counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoDevice {
    /// The file system is not on a block device that this process can see.
    #[error(
        "`{path}` is on {file_system}, which has no block device to count reads on; \
         put it on a file system of a local drive"
    )]
    NotOnDevice {
        /// The file asked about.
        path: PathBuf,
        /// The type of its file system.
        file_system: String,
    },
    /// The file could not be looked at.
    #[error("cannot look at `{path}`: {reason}")]
    Unreadable {
        /// The file asked about.
        path: PathBuf,
        /// The error of the system.
        reason: String,
    },
    /// The device exists and its counters do not parse.
    #[error("`{path}` does not hold the counters of a block device")]
    NotCounters {
        /// The file that should have held them.
        path: PathBuf,
    },
}

/// Reads of a device since the machine started, or between two instants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeviceReads {
    /// Reads the device completed.
    pub(crate) completed: u64,
    /// Reads that were joined to a neighbour before they reached the device.
    pub(crate) merged: u64,
    /// Bytes read.
    pub(crate) bytes: u64,
    /// Milliseconds that all reads together took at the device.
    pub(crate) reads_ms: u64,
    /// Milliseconds in which it had anything to do, writes too.
    pub(crate) busy_ms: u64,
}

impl DeviceReads {
    /// Reads a `stat` file of a block device (Documentation/block/stat.rst of the kernel): reads
    /// completed, reads merged, sectors read, their milliseconds; and, after fields about writing
    /// that are left alone, the tenth: milliseconds at work.
    fn parse(stat: &str) -> Option<DeviceReads> {
        let mut fields = stat.split_ascii_whitespace().map(str::parse::<u64>);
        let completed = fields.next()?.ok()?;
        let merged = fields.next()?.ok()?;
        let sectors = fields.next()?.ok()?;
        let reads_ms = fields.next()?.ok()?;
        let busy_ms = fields.nth(5)?.ok()?;
        Some(DeviceReads {
            completed,
            merged,
            bytes: sectors.checked_mul(SECTOR_BYTES)?,
            reads_ms,
            busy_ms,
        })
    }

    /// The difference to `earlier`.
    pub(crate) fn since(self, earlier: DeviceReads) -> DeviceReads {
        DeviceReads {
            completed: self.completed.wrapping_sub(earlier.completed),
            merged: self.merged.wrapping_sub(earlier.merged),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
            reads_ms: self.reads_ms.wrapping_sub(earlier.reads_ms),
            busy_ms: self.busy_ms.wrapping_sub(earlier.busy_ms),
        }
    }

    /// Reads as they were handed to the device, before neighbours were joined.
    pub(crate) fn issued(self) -> u64 {
        self.completed + self.merged
    }

    fn plus(self, other: DeviceReads) -> DeviceReads {
        DeviceReads {
            completed: self.completed.wrapping_add(other.completed),
            merged: self.merged.wrapping_add(other.merged),
            bytes: self.bytes.wrapping_add(other.bytes),
            reads_ms: self.reads_ms.wrapping_add(other.reads_ms),
            busy_ms: self.busy_ms.wrapping_add(other.busy_ms),
        }
    }
}

/// The devices that hold a set of files, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Devices {
    sys_paths: BTreeSet<PathBuf>,
}

impl Devices {
    /// Finds the devices that hold `files`.
    pub(crate) fn holding(files: &[PathBuf]) -> Result<Devices, NoDevice> {
        let mounts =
            Mount::parse_all(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        let mut sys_paths = BTreeSet::new();
        for file in files {
            sys_paths.insert(sys_path_of(file, &mounts)?);
        }
        Ok(Devices { sys_paths })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.sys_paths.len()
    }

    /// The counters now, summed over the devices.
    pub(crate) fn reads(&self) -> Result<DeviceReads, NoDevice> {
        let mut sum = DeviceReads::default();
        for sys_path in &self.sys_paths {
            let path = sys_path.join("stat");
            let stat = fs::read_to_string(&path).map_err(|error| NoDevice::Unreadable {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            sum = sum.plus(DeviceReads::parse(&stat).ok_or(NoDevice::NotCounters { path })?);
        }
        Ok(sum)
    }

    /// The devices as a record describes them.
    pub(crate) fn describe(&self) -> Vec<DeviceDescription> {
        self.sys_paths
            .iter()
            .map(|path| DeviceDescription::read(path))
            .collect()
    }
}

/// The directory of the device that holds `file`, symbolic links resolved.
fn sys_path_of(file: &Path, mounts: &[Mount]) -> Result<PathBuf, NoDevice> {
    let unreadable = |error: std::io::Error| NoDevice::Unreadable {
        path: file.to_path_buf(),
        reason: error.to_string(),
    };
    let number = fs::metadata(file).map_err(unreadable)?.dev();
    if let Some(found) = sys_path_of_number(number) {
        return Ok(found);
    }
    // File systems with several subvolumes (btrfs) give their files a number of
    // no device; the mount names the device itself.
    let canonical = file.canonicalize().map_err(unreadable)?;
    let mount = Mount::holding(mounts, &canonical);
    if let Some(mount) = mount
        && mount.source.starts_with("/dev/")
        && let Ok(metadata) = fs::metadata(&mount.source)
        && let Some(found) = sys_path_of_number(metadata.rdev())
    {
        return Ok(found);
    }
    Err(NoDevice::NotOnDevice {
        path: file.to_path_buf(),
        file_system: mount.map_or_else(
            || "an unknown file system".to_owned(),
            |mount| mount.file_system.clone(),
        ),
    })
}

fn sys_path_of_number(number: u64) -> Option<PathBuf> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    Path::new(SYSFS)
        .join(format!("{major}:{minor}"))
        .canonicalize()
        .ok()
}

/// One line of `/proc/self/mountinfo`: the parts a device is found by.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    file_system: String,
    source: String,
}

impl Mount {
    fn parse_all(mountinfo: &str) -> Vec<Mount> {
        mountinfo.lines().filter_map(Mount::parse).collect()
    }

    fn parse(line: &str) -> Option<Mount> {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        let mut after = after.split(' ');
        Some(Mount {
            point: PathBuf::from(unescape(point)),
            file_system: after.next()?.to_owned(),
            source: unescape(after.next()?),
        })
    }

    /// The mount that holds `path`: of the deepest points, the last mounted.
    fn holding<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
        mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after
            .get(..3)
            .and_then(|octal| u8::from_str_radix(octal, 8).ok())
        {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// A device, described so that records can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeviceDescription {
    /// The kernel's name of the device the file system is on.
    pub(crate) name: String,
    /// The drives below it; the name of the drive itself when there is no layer.
    pub(crate) drives: Vec<DriveDescription>,
}

/// One drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DriveDescription {
    /// The kernel's name.
    pub(crate) name: String,
    /// The maker's name, where the drive reports it.
    pub(crate) model: Option<String>,
    /// The I/O scheduler in use.
    pub(crate) scheduler: Option<String>,
    /// Read-ahead of buffered reads.
    pub(crate) read_ahead_bytes: Option<u64>,
    /// The smallest unit that can be addressed.
    pub(crate) logical_block_bytes: Option<u64>,
    /// The smallest unit that can be read without waste.
    pub(crate) physical_block_bytes: Option<u64>,
    /// The largest single read the kernel sends.
    pub(crate) request_bytes_max: Option<u64>,
    /// Requests the kernel holds for the drive.
    pub(crate) queue_requests_max: Option<u64>,
    /// Size of the whole drive.
    pub(crate) size_bytes: Option<u64>,
    /// True for spinning disks, and for virtual disks that do not say otherwise.
    pub(crate) rotational: Option<bool>,
}

impl DeviceDescription {
    fn read(sys_path: &Path) -> DeviceDescription {
        let mut drives = Vec::new();
        collect_drives(sys_path, &mut drives);
        DeviceDescription {
            name: name_of(sys_path),
            drives,
        }
    }
}

/// Walks from a partition to its drive and from dm and md devices to their members.
fn collect_drives(sys_path: &Path, drives: &mut Vec<DriveDescription>) {
    let whole = match sys_path.parent() {
        Some(parent) if sys_path.join("partition").exists() => parent,
        _ => sys_path,
    };
    let mut members: Vec<PathBuf> = fs::read_dir(whole.join("slaves"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.path().canonicalize().ok())
        .collect();
    members.sort();
    for member in &members {
        collect_drives(member, drives);
    }
    if members.is_empty() {
        let drive = DriveDescription::read(whole);
        if !drives.contains(&drive) {
            drives.push(drive);
        }
    }
}

impl DriveDescription {
    fn read(sys_path: &Path) -> DriveDescription {
        let text = |file: &str| -> Option<String> {
            let text = fs::read_to_string(sys_path.join(file)).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let number = |file: &str| text(file)?.parse::<u64>().ok();
        DriveDescription {
            name: name_of(sys_path),
            model: text("device/model"),
            scheduler: text("queue/scheduler").map(|list| scheduler_in_use(&list)),
            read_ahead_bytes: number("queue/read_ahead_kb").map(|kib| kib * 1024),
            logical_block_bytes: number("queue/logical_block_size"),
            physical_block_bytes: number("queue/physical_block_size"),
            request_bytes_max: number("queue/max_sectors_kb").map(|kib| kib * 1024),
            queue_requests_max: number("queue/nr_requests"),
            size_bytes: number("size").map(|sectors| sectors * SECTOR_BYTES),
            rotational: number("queue/rotational").map(|rotational| rotational == 1),
        }
    }
}

fn name_of(sys_path: &Path) -> String {
    sys_path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The kernel lists every scheduler and puts the one in use in brackets.
fn scheduler_in_use(list: &str) -> String {
    list.split_ascii_whitespace()
        .find_map(|name| name.strip_prefix('[')?.strip_suffix(']'))
        .unwrap_or(list)
        .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STAT: &str = "   31191     6968  3414962    12519     6383    35940  3138024     9759        0     6064\n";

    #[test]
    fn stat_file_gives_reads_merges_and_bytes() {
        assert_eq!(
            DeviceReads::parse(STAT),
            Some(DeviceReads {
                completed: 31_191,
                merged: 6_968,
                bytes: 3_414_962 * 512,
                reads_ms: 12_519,
                busy_ms: 6_064,
            })
        );
    }

    #[test]
    fn stat_file_that_is_cut_or_not_numbers_is_refused() {
        for text in [
            "",
            "1 2 3 4",
            "1 2 x 4 5 6 7 8 9 10",
            "-1 2 3 4 5 6 7 8 9 10",
            "1 2 18446744073709551615 4 5 6 7 8 9 10",
        ] {
            assert_eq!(DeviceReads::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn reads_between_two_instants_are_the_difference() {
        let earlier = DeviceReads::parse("10 1 100 4 0 0 0 0 0 7 0").unwrap();
        let later = DeviceReads::parse("25 3 220 9 0 0 0 0 0 17 0").unwrap();
        let between = later.since(earlier);
        assert_eq!(
            between,
            DeviceReads {
                completed: 15,
                merged: 2,
                bytes: 120 * 512,
                reads_ms: 5,
                busy_ms: 10,
            }
        );
        assert_eq!(between.issued(), 17);
    }

    #[test]
    fn file_in_proc_has_no_device_and_the_reason_names_the_file_system() {
        let refused = Devices::holding(&[PathBuf::from("/proc/version")]).unwrap_err();
        assert_eq!(
            refused,
            NoDevice::NotOnDevice {
                path: PathBuf::from("/proc/version"),
                file_system: "proc".to_owned(),
            }
        );
    }

    #[test]
    fn missing_file_is_unreadable() {
        let refused = Devices::holding(&[PathBuf::from("/proc/no-such-file")]).unwrap_err();
        assert!(matches!(refused, NoDevice::Unreadable { .. }), "{refused}");
    }

    #[test]
    fn mount_lines_give_point_type_and_source() {
        let mountinfo = "\
22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
30 22 0:25 /sub /home\\040dir rw shared:1 - btrfs /dev/vdb rw
31 30 0:26 / /home\\040dir/ram rw - tmpfs tmpfs rw
broken line
";
        let mounts = Mount::parse_all(mountinfo);
        assert_eq!(mounts.len(), 3);
        let holds = |path: &str| Mount::holding(&mounts, Path::new(path)).unwrap();
        assert_eq!(holds("/etc/passwd").source, "/dev/vda1");
        assert_eq!(holds("/home dir/file").file_system, "btrfs");
        assert_eq!(holds("/home dir/file").source, "/dev/vdb");
        assert_eq!(holds("/home dir/ram/file").file_system, "tmpfs");
        assert_eq!(holds("/home directory").source, "/dev/vda1");
    }

    #[test]
    fn backslash_that_is_no_escape_stays() {
        assert_eq!(unescape("a\\040b\\x\\"), "a b\\x\\");
    }

    #[test]
    fn scheduler_in_brackets_is_the_one_in_use() {
        assert_eq!(scheduler_in_use("none [mq-deadline] kyber"), "mq-deadline");
        assert_eq!(scheduler_in_use("none"), "none");
    }

    #[test]
    fn partition_is_described_by_its_drive_and_a_stripe_by_its_members() {
        let sys = tempfile::tempdir().unwrap();
        let root = sys.path().canonicalize().unwrap();
        for drive in ["nvme0n1", "nvme1n1"] {
            fs::create_dir_all(root.join(drive).join("queue")).unwrap();
            fs::create_dir_all(root.join(drive).join("device")).unwrap();
            fs::write(root.join(drive).join("device/model"), "Fast Drive  \n").unwrap();
            fs::write(root.join(drive).join("queue/read_ahead_kb"), "128\n").unwrap();
            fs::write(root.join(drive).join("size"), "2000\n").unwrap();
        }
        let partition = root.join("nvme0n1/nvme0n1p1");
        fs::create_dir_all(&partition).unwrap();
        fs::write(partition.join("partition"), "1\n").unwrap();
        let stripe = root.join("md0");
        fs::create_dir_all(stripe.join("slaves")).unwrap();
        std::os::unix::fs::symlink(&partition, stripe.join("slaves/nvme0n1p1")).unwrap();
        std::os::unix::fs::symlink(root.join("nvme1n1"), stripe.join("slaves/nvme1n1")).unwrap();

        let one = DeviceDescription::read(&partition);
        assert_eq!(one.name, "nvme0n1p1");
        assert_eq!(one.drives.len(), 1);
        assert_eq!(one.drives[0].name, "nvme0n1");
        assert_eq!(one.drives[0].model.as_deref(), Some("Fast Drive"));
        assert_eq!(one.drives[0].read_ahead_bytes, Some(128 * 1024));
        assert_eq!(one.drives[0].size_bytes, Some(2000 * 512));
        assert_eq!(one.drives[0].scheduler, None);

        let both = DeviceDescription::read(&stripe);
        assert_eq!(both.name, "md0");
        let names: Vec<&str> = both
            .drives
            .iter()
            .map(|drive| drive.name.as_str())
            .collect();
        assert_eq!(names, ["nvme0n1", "nvme1n1"]);
    }

    #[test]
    fn counters_of_two_devices_are_summed() {
        let sys = tempfile::tempdir().unwrap();
        let mut sys_paths = BTreeSet::new();
        for (name, stat) in [("a", "5 1 8 3 0 0 0 0 0 2"), ("b", "7 0 16 4 0 0 0 0 0 5")] {
            let device = sys.path().join(name);
            fs::create_dir(&device).unwrap();
            fs::write(device.join("stat"), stat).unwrap();
            sys_paths.insert(device);
        }
        let devices = Devices { sys_paths };
        assert_eq!(
            devices.reads().unwrap(),
            DeviceReads {
                completed: 12,
                merged: 1,
                bytes: 24 * 512,
                reads_ms: 7,
                busy_ms: 7,
            }
        );
        fs::write(sys.path().join("b/stat"), "x").unwrap();
        assert!(matches!(devices.reads(), Err(NoDevice::NotCounters { .. })));
    }
}
