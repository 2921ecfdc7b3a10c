//! Resolving a configuration on a machine.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use ringtake_storage::layout::PAGE_BYTES;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::cache::CacheChoice;
use super::choices::Alignment;
use super::options::Config;
use super::read_path::{ReadPathChoice, THREAD_POOL_THREADS};
use crate::error::ConfigError;
use crate::host::cpus::AllowedCpus;

/// The facts about a machine and a dataset's drives that a configuration depends on.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) allowed: AllowedCpus,
    /// The strictest alignment of the data files.
    pub(crate) align_bytes: u32,
    /// Whether io_uring works.
    pub(crate) has_ring: bool,
}

/// A [`Config`] as it came out on this machine. It dereferences to the configuration as given; the
/// fields here are those that the machine decides.
///
/// Printed as one `name = value` per line, and serialised as one flat object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResolvedConfig {
    /// Shards.
    pub shards: usize,
    /// The CPU of each shard; empty if they are not pinned.
    pub cpus: Vec<usize>,
    /// The read path in use, never `auto`.
    pub read_path: ReadPathChoice,
    /// Alignment of reads in bytes.
    pub align_bytes: u32,
    #[serde(flatten)]
    given: Config,
}

impl Deref for ResolvedConfig {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.given
    }
}

impl Config {
    /// Decides what the configuration leaves open.
    ///
    /// # Errors
    /// A field that cannot work, or not on this machine.
    pub(crate) fn resolve(&self, machine: &Machine) -> Result<ResolvedConfig, ConfigError> {
        self.validate()?;
        let (shards, cpus) = self.placement(&machine.allowed)?;
        let mut align_bytes = match self.lab.alignment {
            Alignment::Device => machine.align_bytes,
            Alignment::Bytes(bytes) if bytes >= machine.align_bytes => bytes,
            Alignment::Bytes(bytes) => {
                return Err(ConfigError {
                    field: "alignment",
                    value: bytes.to_string(),
                    reason: format!(
                        "the device accepts no less than {} bytes",
                        machine.align_bytes
                    ),
                });
            }
        };
        if self.cache != CacheChoice::Off {
            // The caches keep whole pages, so reads bring whole pages.
            align_bytes = align_bytes.max(PAGE_BYTES as u32);
        }
        let read_path = match self.read_path {
            ReadPathChoice::Auto if machine.has_ring => ReadPathChoice::RingPerShard,
            ReadPathChoice::Auto => ReadPathChoice::ThreadPool {
                threads: THREAD_POOL_THREADS,
            },
            chosen => chosen,
        };
        Ok(ResolvedConfig {
            shards,
            cpus,
            read_path,
            align_bytes,
            given: self.clone(),
        })
    }
}

impl fmt::Display for ResolvedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(Value::Object(fields)) = serde_json::to_value(self) else {
            return Err(fmt::Error);
        };
        for (place, (name, value)) in fields.iter().enumerate() {
            let end_of_line = if place == 0 { "" } else { "\n" };
            write!(f, "{end_of_line}{name} = {}", Printed(value))?;
        }
        Ok(())
    }
}

/// A value as people write it.
struct Printed<'a>(&'a Value);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("none"),
            Value::String(text) => f.write_str(text),
            Value::Array(values) => {
                let values: Vec<String> = values.iter().map(|v| Printed(v).to_string()).collect();
                write!(f, "[{}]", values.join(", "))
            }
            // The only objects are durations.
            Value::Object(_) => match Duration::deserialize(self.0) {
                Ok(duration) => write!(f, "{duration:?}"),
                Err(_) => write!(f, "{}", self.0),
            },
            Value::Bool(_) | Value::Number(_) => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::Lab;

    fn machine(align_bytes: u32, has_ring: bool) -> Machine {
        Machine {
            allowed: AllowedCpus {
                cpus: vec![0, 1],
                quota_cpus: None,
            },
            align_bytes,
            has_ring,
        }
    }

    #[test]
    fn reads_are_aligned_as_asked_but_no_less_than_the_drive_or_a_cache_needs() {
        let with = |alignment, cache| Config {
            cache,
            lab: Lab {
                alignment,
                ..Lab::default()
            },
            ..Config::default()
        };
        for (alignment, cache, drive, expected) in [
            (Alignment::Device, CacheChoice::Off, 512, 512),
            (Alignment::Device, CacheChoice::Bytes(1 << 20), 512, 4096),
            (Alignment::Bytes(512), CacheChoice::Off, 512, 512),
            (Alignment::Bytes(8192), CacheChoice::Pinned, 512, 8192),
        ] {
            let resolved = with(alignment, cache).resolve(&machine(drive, true));
            assert_eq!(resolved.unwrap().align_bytes, expected);
        }
        let small = with(Alignment::Bytes(512), CacheChoice::Off);
        let error = small.resolve(&machine(4096, true)).unwrap_err();
        assert_eq!(error.field, "alignment");
    }

    #[test]
    fn auto_is_a_ring_where_there_is_one_and_a_thread_pool_elsewhere() {
        let read_path = |has_ring| {
            let resolved = Config::default().resolve(&machine(512, has_ring));
            resolved.unwrap().read_path
        };
        assert_eq!(read_path(true), ReadPathChoice::RingPerShard);
        assert!(matches!(
            read_path(false),
            ReadPathChoice::ThreadPool { .. }
        ));
    }
}
