//! The dataset that is searched: one that is given, or one of the bench's own, made once.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use ringtake_runtime::{BuildProgress, Config, IndexOptions, Store};
use ringtake_storage::manifest::{MANIFEST_NAME, Manifest};
use ringtake_storage::vector::{Metric, VectorColumn};
use ringtake_vectors::{Mixture, MixtureShape};

use super::flags::VectorSearchArgs;
use crate::command::scratch::{Scratch, default_base, free_bytes};
use crate::error::Error;
use crate::numbers::{bytes, whole};
use crate::workload::dataset::DatasetFiles;
use crate::workload::made_dataset::{DatasetSpec, VECTOR_COLUMN, write_vectors};

/// The rows and dimensions of a made dataset by default.
pub(crate) const ROWS: u64 = 1_000_000;
pub(crate) const DIMS: u32 = 768;

/// The scratch directory of a run that keeps nothing.
const DIRECTORY: &str = "ringtake-bench-vector-search";

/// Rows for each cluster, as far as there are not too few or too many clusters.
const CLUSTER_ROWS: u64 = 1_000;
const CLUSTERS_MIN: u64 = 16;
const CLUSTERS_MAX: u64 = 4_096;

/// Seed of the mixture and of its draws, so that a dataset found again has the same queries.
pub(crate) const DATA_SEED: u64 = 1;

/// Rows drawn from one state of the generator, on any thread.
const DRAWN_ROWS: usize = 1_024;

/// The dataset that is searched.
pub(crate) struct SearchDataset {
    pub(crate) dataset: PathBuf,
    /// The distribution of its rows, if the bench made it.
    pub(crate) mixture: Option<Mixture>,
    /// Removed when the run is over.
    _scratch: Option<Scratch>,
}

impl SearchDataset {
    /// Finds the dataset that `args` name, or makes it.
    pub(crate) fn find(
        args: &VectorSearchArgs,
        interrupted: &AtomicBool,
    ) -> Result<SearchDataset, Error> {
        if let Some(dataset) = &args.dataset {
            DatasetFiles::of(dataset, &[])?;
            return Ok(SearchDataset {
                dataset: dataset.clone(),
                mixture: None,
                _scratch: None,
            });
        }
        let scratch = match &args.dir {
            Some(_) => None,
            None => Some(Scratch::prepare(&default_base(), DIRECTORY)?),
        };
        let base = match (&args.dir, &scratch) {
            (Some(dir), _) => dir.clone(),
            (None, Some(scratch)) => scratch.path.clone(),
            (None, None) => default_base(),
        };
        let dataset = base.join("dataset");
        let (rows, dims) = if dataset.join(MANIFEST_NAME).exists() {
            found(&dataset, args)?
        } else {
            let spec = DatasetSpec {
                rows: args.rows.map_or(ROWS, |rows| rows.get()),
                dims: args.dims.map_or(DIMS, |dims| dims.get()),
                time_max: None,
            };
            fs::create_dir_all(&base).map_err(Error::io("make", &base))?;
            make(&dataset, &base, spec, interrupted)?;
            (spec.rows, spec.dims)
        };
        Ok(SearchDataset {
            dataset,
            mixture: Some(mixture(rows, dims)),
            _scratch: scratch,
        })
    }

    /// Builds the index of a dataset of the bench's own, if there is none or another is asked for.
    pub(crate) fn build_index(
        &self,
        config: &Config,
        args: &VectorSearchArgs,
    ) -> Result<(), Error> {
        if self.mixture.is_none() {
            return Ok(());
        }
        let store = Store::open(&self.dataset, config.clone())?;
        if let [index] = store.indexes()
            && args.metric.is_none_or(|metric| metric == index.metric)
            && args
                .partitions
                .is_none_or(|n| n.get() as usize == index.partitions)
        {
            return Ok(());
        }
        let options = IndexOptions {
            metric: args.metric.unwrap_or(Metric::L2),
            partitions: args.partitions.map(|partitions| partitions.get()),
            ..IndexOptions::default()
        };
        let mut shown = Shown::default();
        let index = store.build_index(VECTOR_COLUMN, &options, &mut |now| {
            shown.show(now);
            ControlFlow::Continue(())
        })?;
        shown.end();
        eprintln!(
            "built the index: {} partitions, codes of {} bytes, {:.1} bytes per row in memory",
            whole(index.partitions as u64),
            index.code_bytes_per_row,
            index.bytes_per_row,
        );
        Ok(())
    }
}

/// Rows and dimension of the dataset of an earlier run.
fn found(dataset: &Path, args: &VectorSearchArgs) -> Result<(u64, u32), Error> {
    let files = DatasetFiles::of(dataset, &[])?;
    let manifest = Manifest::read(dataset)?;
    let column = VectorColumn::named(&manifest.schema, VECTOR_COLUMN)?;
    let same = args.rows.is_none_or(|rows| rows.get() == files.rows)
        && args
            .dims
            .is_none_or(|dims| dims.get() as usize == column.dims);
    if same {
        return Ok((files.rows, column.dims as u32));
    }
    Err(Error::OtherDataset {
        path: dataset.to_path_buf(),
        rows: files.rows,
        dims: column.dims,
    })
}

fn make(
    dataset: &Path,
    base: &Path,
    spec: DatasetSpec,
    interrupted: &AtomicBool,
) -> Result<(), Error> {
    let (needed_bytes, available_bytes) = (spec.stored_bytes(), free_bytes(base)?);
    if needed_bytes > available_bytes {
        return Err(Error::TooLittleSpace {
            path: base.to_path_buf(),
            available_bytes,
            needed_bytes,
        });
    }
    eprintln!(
        "making a dataset of {} clustered vectors of {} numbers, {} on the drive, in {}",
        whole(spec.rows),
        spec.dims,
        bytes(needed_bytes),
        dataset.display(),
    );
    let mixture = mixture(spec.rows, spec.dims);
    write_vectors(dataset, spec, interrupted, |first, numbers| {
        let blocks = numbers.chunks_mut(DRAWN_ROWS * mixture.dims());
        std::thread::scope(|scope| {
            for (block, first) in blocks.zip((first..).step_by(DRAWN_ROWS)) {
                let mixture = &mixture;
                scope.spawn(move || {
                    let mut random = ChaCha8Rng::seed_from_u64(DATA_SEED);
                    random.set_stream(first);
                    mixture.draw(&mut random, block);
                });
            }
        });
    })
}

/// The distribution of the rows of a made dataset.
fn mixture(rows: u64, dims: u32) -> Mixture {
    let clusters = (rows / CLUSTER_ROWS).clamp(CLUSTERS_MIN, CLUSTERS_MAX);
    let shape = MixtureShape {
        dims: dims as usize,
        clusters: clusters as usize,
    };
    Mixture::new(shape, DATA_SEED)
}

/// A bar for each stage of a build, on standard error.
#[derive(Default)]
struct Shown {
    stage: &'static str,
    bar: Option<ProgressBar>,
}

impl Shown {
    fn show(&mut self, now: BuildProgress) {
        if self.stage != now.stage {
            self.end();
            self.stage = now.stage;
            let bar = ProgressBar::new(now.of).with_message(format!("index: {}", now.stage));
            if let Ok(style) =
                ProgressStyle::with_template("{msg} {bar:40} {human_pos}/{human_len}, {eta} left")
            {
                bar.set_style(style);
            }
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(now.of);
            bar.set_position(now.done);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
