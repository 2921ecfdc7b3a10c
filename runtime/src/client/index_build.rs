//! Building an index: a sample, k-means, codebooks, and one pass over all rows.
//!
//! Memory is bounded whatever the number of rows: the sample by
//! [`IndexOptions::sample_bytes_max`], and the codes, which the pass makes in the order of the rows
//! and the file has in the order of partitions, by going through a file without a name as often as
//! [`IndexOptions::gather_bytes_max`] asks for.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Sender, bounded};
use rand::SeedableRng as _;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use ringtake_storage::projection::Projection;
use ringtake_storage::vector::index::writer::IndexWriter;
use ringtake_storage::vector::index::{
    CODES_MAX, INDEXED_ROWS_MAX, IndexLayout, PARTITIONS_MAX, Section,
};
use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::kmeans::{Assigned, Centroids, Sums, mean};
use ringtake_storage::vector::quantiser::{ENTRIES, Quantiser, even_ends, train, train_errors};
use ringtake_storage::vector::rotation::{Rotation, ends_by_variance, principal_axes};
use ringtake_storage::vector::{Metric, VectorColumn, is_measurable, normalise};
use ringtake_storage::write::file_system::RealFileSystem;

use crate::admission::LatencyClass;
use crate::client::store::Store;
use crate::client::take::TakeOptions;
use crate::error::ConfigError;
use crate::error::{Error, Result};
use crate::host::cpus::allowed_cpus;
use crate::index::opened::{self, IndexInfo};
use crate::memory::outputs::ColumnBuffer;

/// How an index is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexOptions {
    /// The distance.
    pub metric: Metric,
    /// Partitions; `None` for the power of two that is nearest to a partition for each 4,096
    /// rows. There are never more than sampled vectors.
    pub partitions: Option<u32>,
    /// Bytes of the codes of a row; `None` for a byte to each 16 elements and four more, and at
    /// least 29. There are never more than half a byte for each element and one more, whatever is
    /// asked. Row ids take four bytes here and eight elsewhere, so that is what a product quantiser
    /// of a byte to each 16 elements takes in all.
    pub code_bytes: Option<u32>,
    /// The axes along which vectors are coded.
    pub axes: Axes,
    /// Rounds of k-means. Partitions go on getting better for many: a million vectors of a mixture,
    /// 256 partitions of which 20 were searched, gave a recall of 0.940 after 16 rounds over 256
    /// samples a partition, 0.953 after 50, and 0.960 after 50 over 512.
    pub iterations: u32,
    /// Vectors sampled for each partition.
    pub sample_rows_per_partition: u32,
    /// Bytes of the sample at most.
    pub sample_bytes_max: u64,
    /// Bytes of codes that are put in order at once.
    pub gather_bytes_max: u64,
    /// Threads; `None` for one per allowed CPU.
    pub threads: Option<usize>,
    /// Only so many rows, the first; later ones are measured one by one by each search. `None` for
    /// all.
    pub rows: Option<u64>,
    /// Chooses the sample.
    pub seed: u64,
}

impl Default for IndexOptions {
    fn default() -> Self {
        IndexOptions {
            metric: Metric::L2,
            partitions: None,
            code_bytes: None,
            axes: Axes::default(),
            iterations: 50,
            sample_rows_per_partition: 512,
            sample_bytes_max: 1 << 30,
            gather_bytes_max: 1 << 30,
            threads: None,
            rows: None,
            seed: 1,
        }
    }
}

/// Axes along which vectors are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Axes {
    /// Whichever of the two code a sample with less error; the given ones, which cost a query
    /// nothing, if there is little between them.
    #[default]
    Auto,
    /// Those of the column.
    Given,
    /// The principal ones, where they can be computed. A query is turned along them, which takes a
    /// multiplication for each two elements.
    Principal,
}

/// How far a build has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildProgress {
    /// What it is at, in a word or two.
    pub stage: &'static str,
    /// How much of that is done.
    pub done: u64,
    /// Of how much.
    pub of: u64,
}

/// Who is told how far a build has come, and may end it.
type Watch<'a> = dyn FnMut(BuildProgress) -> ControlFlow<()> + 'a;

/// Tells `watch` how far the build has come.
///
/// # Errors
/// [`Error::Stopped`] if it has come far enough.
fn tell(watch: &mut Watch<'_>, stage: &'static str, done: u64, of: u64) -> Result<()> {
    match watch(BuildProgress { stage, done, of }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Stopped),
    }
}

/// Rows for each partition, where their number is not given.
const PARTITION_ROWS: u64 = 4096;
/// Elements for each byte of code, and bytes at least, where their number is not given.
const ELEMENTS_PER_CODE_BYTE: usize = 16;
const CODE_BYTES_MORE: usize = 4;
const CODE_BYTES_MIN: usize = 29;
/// Rows taken and coded at once.
const CHUNK_ROWS: u64 = 1024;
/// Sampled vectors that codebooks are trained on at most.
const CODEBOOK_ROWS_MAX: usize = 1 << 16;
/// Of those, the vectors that axes are chosen by.
const AXES_ROWS_MAX: usize = 1 << 14;
/// Principal axes are worth their price where the error is at most this share of what it is along
/// the given ones.
const PRINCIPAL_ERROR_SHARE: f64 = 0.97;

/// Builds the index of `column`. See [`Store::build_index`].
pub(crate) fn build(
    store: &Store,
    column: &str,
    options: &IndexOptions,
    watch: &mut Watch<'_>,
) -> Result<IndexInfo> {
    let plan = Plan::new(store, column, options)?;
    let mut sample = plan.sample(watch)?;
    let origin = plan.origin(&sample);
    if let Some(origin) = &origin {
        let dims = plan.column.dims;
        plan.spread(&mut sample, |rows| {
            rows.chunks_exact_mut(dims)
                .for_each(|row| subtract(row, origin));
        });
    }
    let centroids = plan.partition(&sample, watch)?;
    let quantiser = plan.quantiser(sample, &centroids, watch)?;
    let layout = IndexLayout {
        column: plan.column.column as u32,
        element: plan.column.element,
        dims: plan.column.dims as u32,
        metric: options.metric,
        rows: plan.rows,
        rows_indexed: 0,
        partitions: 0,
        codes: 0,
        seed: options.seed,
        rotation: Section::default(),
        centroids: Section::default(),
        ends: Section::default(),
        codebooks: Section::default(),
        errors: Section::default(),
        counts: Section::default(),
        lists: Section::default(),
    };
    let file_system = Arc::new(RealFileSystem);
    let mut stored = centroids.values().to_vec();
    for row in stored.chunks_exact_mut(plan.column.dims) {
        let origin = origin.iter().flatten();
        row.iter_mut().zip(origin).for_each(|(c, o)| *c += o);
    }
    let turned = quantiser.rotate(plan.kernels, &stored);
    let turned = Centroids::new(plan.column.dims, turned);
    let writer = IndexWriter::create(file_system, store.dataset(), layout, &turned, &quantiser)?;
    let coded = plan.code(origin.as_deref(), &centroids, &quantiser, watch)?;
    coded.write(writer, options.gather_bytes_max, watch)?;
    opened::info_of(store.dataset(), plan.column.column)
}

/// What is built, and from what.
struct Plan<'a> {
    store: &'a Store,
    options: &'a IndexOptions,
    column: VectorColumn,
    projection: Projection,
    rows: u64,
    partitions: usize,
    pieces: usize,
    threads: usize,
    kernels: Kernels,
}

impl<'a> Plan<'a> {
    fn new(store: &'a Store, name: &str, options: &'a IndexOptions) -> Result<Plan<'a>> {
        let column = VectorColumn::named(store.schema(), name)?;
        let rows = options.rows.unwrap_or(u64::MAX).min(store.row_count());
        let refuse = |field, value: u64, reason: String| {
            Err(Error::Config(ConfigError {
                field,
                value: value.to_string(),
                reason,
            }))
        };
        if rows > INDEXED_ROWS_MAX {
            let reason =
                format!("an index counts rows in 32 bits, so it has at most {INDEXED_ROWS_MAX}");
            return refuse("rows", rows, reason);
        }
        let partitions = match options.partitions {
            None => nearest_power_of_two(rows / PARTITION_ROWS).min(PARTITIONS_MAX as u64),
            Some(partitions) => partitions.into(),
        };
        if partitions == 0 || partitions > PARTITIONS_MAX as u64 {
            let reason = format!("there are 1 to {PARTITIONS_MAX}");
            return refuse("partitions", partitions, reason);
        }
        let code_bytes = match options.code_bytes {
            None => {
                let bytes = column.dims.div_ceil(ELEMENTS_PER_CODE_BYTE) + CODE_BYTES_MORE;
                bytes.max(CODE_BYTES_MIN)
            }
            Some(code_bytes) => code_bytes as usize,
        };
        if code_bytes == 0 || code_bytes > CODES_MAX / 2 {
            let reason = format!("a code has 1 to {} bytes", CODES_MAX / 2);
            return refuse("code_bytes", code_bytes as u64, reason);
        }
        if options.sample_rows_per_partition == 0 {
            let reason = "partitions are made from a sample, so it needs at least 1";
            return refuse("sample_rows_per_partition", 0, reason.to_owned());
        }
        if options.threads == Some(0) {
            let reason = "somebody has to do it; give at least 1, or none for all CPUs";
            return refuse("threads", 0, reason.to_owned());
        }
        let threads = options.threads.unwrap_or_else(|| allowed_cpus().usable());
        Ok(Plan {
            projection: store.projection(&[name])?,
            store,
            options,
            column,
            rows,
            partitions: partitions as usize,
            pieces: (code_bytes * 2 - 1).min(column.dims),
            threads,
            kernels: Kernels::best(),
        })
    }

    /// Vectors chosen at random, row-major, without those that cannot be indexed.
    fn sample(&self, watch: &mut Watch<'_>) -> Result<Vec<f32>> {
        let vector_bytes = (self.column.dims * size_of::<f32>()) as u64;
        let wanted = u64::from(self.options.sample_rows_per_partition) * self.partitions as u64;
        let room = self.options.sample_bytes_max / vector_bytes;
        let rows = wanted.min(room).clamp(1, self.rows.max(1)).min(self.rows) as usize;
        let mut random = ChaCha8Rng::seed_from_u64(self.options.seed);
        let mut ids: Vec<u64> = match rows as u64 == self.rows {
            true => (0..self.rows).collect(),
            false => {
                let ids = sample(&mut random, self.rows as usize, rows);
                ids.into_iter().map(|row| row as u64).collect()
            }
        };
        ids.sort_unstable();
        let mut reader = Reader::new(self, None);
        let mut vectors = Vec::with_capacity(rows * self.column.dims);
        let mut done = 0;
        for chunk in ids.chunks(CHUNK_ROWS as usize) {
            reader.read(chunk)?;
            vectors.extend_from_slice(&reader.vectors);
            done += chunk.len() as u64;
            tell(watch, "sampling", done, rows as u64)?;
        }
        Ok(vectors)
    }

    /// About the mean of the sample. Squared distances are computed from products, which lose them where
    /// vectors lie far from zero; about their mean they do not. Products themselves have no mean to
    /// be about.
    fn origin(&self, sample: &[f32]) -> Option<Vec<f32>> {
        let dims = self.column.dims;
        if self.options.metric != Metric::L2 || sample.is_empty() {
            return None;
        }
        // Of eight significant bits, so that whole numbers stay such numbers, whose sums are the
        // same in any order: an index of bytes does not depend on the number of threads.
        let round = |x: f32| f32::from_bits(x.to_bits().wrapping_add(0x8000) & 0xffff_0000);
        Some(mean(dims, sample).into_iter().map(round).collect())
    }

    /// Centres of the partitions.
    fn partition(&self, sample: &[f32], watch: &mut Watch<'_>) -> Result<Centroids> {
        let dims = self.column.dims;
        let rows = sample.len() / dims;
        let partitions = self.partitions.min(rows).max(1);
        if rows == 0 {
            return Ok(Centroids::new(dims, vec![0.0; dims]));
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.options.seed);
        let first = rand::seq::index::sample(&mut random, rows, partitions);
        let first = first
            .into_iter()
            .flat_map(|row| &sample[row * dims..][..dims]);
        let mut centroids = Centroids::new(dims, first.copied().collect());
        let of = rows as u64 * u64::from(self.options.iterations);
        let mut done = 0;
        for _ in 0..self.options.iterations {
            let mut sums = self.sums(sample, &centroids, &mut |rows| {
                done += rows;
                tell(watch, "clustering", done, of)
            })?;
            sums.apply(&mut centroids);
        }
        Ok(centroids)
    }

    /// The sums of the rows nearest to each centroid, on all threads. `told` hears of rows that
    /// are done.
    fn sums(
        &self,
        sample: &[f32],
        centroids: &Centroids,
        told: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Sums> {
        let (dims, partitions) = (self.column.dims, centroids.len());
        let share = (sample.len() / dims).div_ceil(self.threads) * dims;
        let sum = |rows: &[f32], done: Sender<u64>| {
            let mut sums = Sums::new(dims, partitions);
            let mut assigned = Assigned::default();
            for rows in rows.chunks(CHUNK_ROWS as usize * dims) {
                centroids.assign(self.kernels, rows, &mut assigned);
                sums.add(rows, &assigned.nearest);
                if done.send((rows.len() / dims) as u64).is_err() {
                    break;
                }
            }
            sums
        };
        let (send, receive) = bounded(self.threads * 2);
        let mut sums = Sums::new(dims, partitions);
        std::thread::scope(|scope| {
            let shares = sample.chunks(share).map(|rows| {
                let (send, sum) = (send.clone(), &sum);
                scope.spawn(move || sum(rows, send))
            });
            let shares: Vec<_> = shares.collect();
            drop(send);
            // Dropped at the first error, which ends the threads.
            for rows in receive {
                told(rows)?;
            }
            for part in shares {
                match part.join() {
                    Ok(part) => sums.merge(&part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(sums)
        })
    }

    /// How the differences between vectors and their centroids are coded.
    fn quantiser(
        &self,
        mut sample: Vec<f32>,
        centroids: &Centroids,
        watch: &mut Watch<'_>,
    ) -> Result<Quantiser> {
        let dims = self.column.dims;
        keep_spread(&mut sample, dims, CODEBOOK_ROWS_MAX);
        self.spread(&mut sample, |rows| {
            let mut assigned = Assigned::default();
            centroids.assign(self.kernels, rows, &mut assigned);
            for (row, &nearest) in rows.chunks_exact_mut(dims).zip(&assigned.nearest) {
                subtract(row, centroids.row(nearest as usize));
            }
        });
        let axes = self.choose_axes(&sample, watch)?;
        if let Some((rotation, _)) = &axes {
            self.spread(&mut sample, |rows| {
                let along = rows.to_vec();
                rotation.apply(self.kernels, &along, rows);
            });
        }
        let (rotation, ends) = match axes {
            Some((rotation, ends)) => (Some(rotation), ends),
            None => (None, even_ends(dims, self.pieces)),
        };
        let mut trained = 0;
        let codebooks = self.train(&sample, &ends, || {
            trained += 1;
            tell(watch, "codebooks", trained, self.pieces as u64)
        })?;
        let quantiser = Quantiser::new(dims, rotation, ends, codebooks, [0.0; ENTRIES]);
        let mut errors = self.errors(&quantiser, &sample);
        let errors = train_errors(self.kernels, &mut errors);
        let (rotation, ends) = (quantiser.rotation().cloned(), quantiser.ends().to_vec());
        let codebooks = quantiser.codebooks().to_vec();
        Ok(Quantiser::new(dims, rotation, ends, codebooks, errors))
    }

    /// Runs `work` on pieces of `vectors`, on all threads.
    fn spread(&self, vectors: &mut [f32], work: impl Fn(&mut [f32]) + Sync) {
        let dims = self.column.dims;
        let share = (vectors.len() / dims).div_ceil(self.threads).max(1) * dims;
        std::thread::scope(|scope| {
            for rows in vectors.chunks_mut(share) {
                scope.spawn(|| rows.chunks_mut(CHUNK_ROWS as usize * dims).for_each(&work));
            }
        });
    }

    /// The principal axes and the ends of pieces along them, where those are worth it.
    fn choose_axes(
        &self,
        differences: &[f32],
        watch: &mut Watch<'_>,
    ) -> Result<Option<(Rotation, Vec<u32>)>> {
        let dims = self.column.dims;
        if self.options.axes == Axes::Given || differences.is_empty() {
            return Ok(None);
        }
        let mut few = differences.to_vec();
        keep_spread(&mut few, dims, AXES_ROWS_MAX);
        let principal = principal_axes(self.kernels, dims, &few);
        if !principal.rotation.is_orthogonal(self.kernels) {
            return Ok(None);
        }
        let (rotation, ends) = (
            principal.rotation,
            ends_by_variance(&principal.variances, self.pieces),
        );
        if self.options.axes == Axes::Principal {
            return Ok(Some((rotation, ends)));
        }
        let mut trained = 0;
        let mut told = || {
            trained += 1;
            tell(watch, "axes", trained, 2 * self.pieces as u64)
        };
        let given = self.error(&few, &even_ends(dims, self.pieces), &mut told)?;
        let mut along = vec![0.0; few.len()];
        rotation.apply(self.kernels, &few, &mut along);
        let principal = self.error(&along, &ends, &mut told)?;
        Ok((principal <= given * PRINCIPAL_ERROR_SHARE).then_some((rotation, ends)))
    }

    /// The squared error of coding `vectors` in pieces with these ends.
    fn error(
        &self,
        vectors: &[f32],
        ends: &[u32],
        told: impl FnMut() -> Result<()>,
    ) -> Result<f64> {
        let codebooks = self.train(vectors, ends, told)?;
        let quantiser = Quantiser::new(
            self.column.dims,
            None,
            ends.to_vec(),
            codebooks,
            [0.0; ENTRIES],
        );
        let errors = self.errors(&quantiser, vectors);
        Ok(errors.iter().map(|&error| f64::from(error)).sum())
    }

    /// The squared error of each of `vectors`.
    fn errors(&self, quantiser: &Quantiser, vectors: &[f32]) -> Vec<f32> {
        let dims = self.column.dims;
        let mut errors = vec![0.0; vectors.len() / dims];
        let share = errors.len().div_ceil(self.threads).max(1);
        std::thread::scope(|scope| {
            for (errors, rows) in errors.chunks_mut(share).zip(vectors.chunks(share * dims)) {
                scope.spawn(move || {
                    for (error, row) in errors.iter_mut().zip(rows.chunks_exact(dims)) {
                        *error = quantiser.error(self.kernels, row);
                    }
                });
            }
        });
        errors
    }

    /// Trains the codebooks of all pieces. `told` hears of each.
    fn train(
        &self,
        vectors: &[f32],
        ends: &[u32],
        mut told: impl FnMut() -> Result<()>,
    ) -> Result<Vec<f32>> {
        let dims = self.column.dims;
        let next = &AtomicU64::new(0);
        let (made, trained) = bounded(ends.len());
        let mut codebooks = vec![0.0; dims * ENTRIES];
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                let made = made.clone();
                scope.spawn(move || {
                    loop {
                        let piece = next.fetch_add(1, Ordering::Relaxed) as usize;
                        let Some(&end) = ends.get(piece) else {
                            return;
                        };
                        let from = piece.checked_sub(1).map_or(0, |before| ends[before]);
                        let range = from as usize..end as usize;
                        let codebook = train(self.kernels, dims, range.clone(), vectors);
                        if made.send((range, codebook)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(made);
            // Dropped at the first error, which ends the threads.
            for (range, codebook) in trained {
                codebooks[range.start * ENTRIES..range.end * ENTRIES].copy_from_slice(&codebook);
                told()?;
            }
            Ok(codebooks)
        })
    }

    /// Codes all rows into a file without a name.
    fn code(
        &self,
        origin: Option<&[f32]>,
        centroids: &Centroids,
        quantiser: &Quantiser,
        watch: &mut Watch<'_>,
    ) -> Result<Coded> {
        let mut coded = Coded::new(self, centroids.len(), quantiser.code_bytes())?;
        let next = AtomicU64::new(0);
        let next = &next;
        let (send, receive) = bounded(self.threads * 2);
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                let send = send.clone();
                scope.spawn(move || {
                    let mut reader = Reader::new(self, origin);
                    let mut assigned = Assigned::default();
                    loop {
                        let from = next.fetch_add(CHUNK_ROWS, Ordering::Relaxed);
                        if from >= self.rows {
                            return;
                        }
                        let ids: Vec<u64> = (from..(from + CHUNK_ROWS).min(self.rows)).collect();
                        let chunk = reader.read(&ids).map(|()| {
                            centroids.assign(self.kernels, &reader.vectors, &mut assigned);
                            self.encode(&mut reader, &assigned, centroids, quantiser)
                        });
                        if send.send((ids.len() as u64, chunk)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(send);
            let mut done = 0;
            // Dropped at the first error, which ends the threads.
            for (rows, chunk) in receive {
                coded.push(&chunk?)?;
                done += rows;
                tell(watch, "coding", done, self.rows)?;
            }
            Ok(coded)
        })
    }

    fn encode(
        &self,
        reader: &mut Reader<'_>,
        assigned: &Assigned,
        centroids: &Centroids,
        quantiser: &Quantiser,
    ) -> Vec<Record> {
        let dims = self.column.dims;
        for (vector, &partition) in reader.vectors.chunks_exact_mut(dims).zip(&assigned.nearest) {
            subtract(vector, centroids.row(partition as usize));
        }
        let turned = quantiser.rotate(self.kernels, &reader.vectors);
        let rows = turned
            .chunks_exact(dims)
            .zip(&reader.rows)
            .zip(&assigned.nearest);
        rows.map(|((vector, &row), &partition)| {
            let mut code = vec![0; quantiser.code_bytes()];
            quantiser.encode(self.kernels, vector, &mut code);
            Record {
                partition,
                row,
                code,
            }
        })
        .collect()
    }
}

fn nearest_power_of_two(n: u64) -> u64 {
    let above = n.max(1).next_power_of_two();
    // Nearest by ratio.
    match above > 1 && n * n < above * above / 2 {
        true => above / 2,
        false => above,
    }
}

/// Keeps at most `rows_max` of `vectors`, spread over all.
fn keep_spread(vectors: &mut Vec<f32>, dims: usize, rows_max: usize) {
    let rows = vectors.len() / dims;
    if rows <= rows_max {
        return;
    }
    for row in 0..rows_max {
        let from = row * rows / rows_max * dims;
        vectors.copy_within(from..from + dims, row * dims);
    }
    vectors.truncate(rows_max * dims);
}

fn subtract(vector: &mut [f32], centroid: &[f32]) {
    for (x, c) in vector.iter_mut().zip(centroid) {
        *x -= c;
    }
}

/// Reads vectors of rows, reusing its memory.
struct Reader<'a> {
    plan: &'a Plan<'a>,
    /// What is subtracted from each vector.
    origin: Option<&'a [f32]>,
    bytes: Vec<u8>,
    /// Row-major, of the rows that can be indexed.
    vectors: Vec<f32>,
    rows: Vec<u32>,
}

impl<'a> Reader<'a> {
    fn new(plan: &'a Plan<'a>, origin: Option<&'a [f32]>) -> Reader<'a> {
        Reader {
            plan,
            origin,
            bytes: Vec::new(),
            vectors: Vec::new(),
            rows: Vec::new(),
        }
    }

    fn read(&mut self, ids: &[u64]) -> Result<()> {
        let Plan {
            store,
            column,
            projection,
            ..
        } = self.plan;
        let width = column.dims * column.element.bytes();
        self.bytes.resize(ids.len() * width, 0);
        let options = TakeOptions {
            class: LatencyClass::Bulk,
            ..TakeOptions::default()
        };
        let mut buffers = [ColumnBuffer::Fixed(&mut self.bytes)];
        store.take_into_with(ids, projection, &mut buffers, options)?;
        let stored_column = &store.dataset().columns()[column.column];
        self.vectors.clear();
        self.rows.clear();
        let mut vector = vec![0.0; column.dims];
        for (&row, stored) in ids.iter().zip(self.bytes.chunks_exact(width)) {
            if !column.has_vector(stored_column, row) {
                continue;
            }
            self.plan.kernels.widen(column.element, stored, &mut vector);
            // A longer one has no distance that can be told, and would draw centroids with it.
            let squared: f32 = vector.iter().map(|x| x * x).sum();
            let direction = squared.is_normal() || self.plan.options.metric != Metric::Cosine;
            let measurable = match self.plan.options.metric {
                Metric::Cosine => squared.is_finite(),
                Metric::L2 | Metric::Dot => is_measurable(squared),
            };
            if !measurable || !direction {
                continue;
            }
            if self.plan.options.metric == Metric::Cosine && !normalise(&mut vector) {
                continue;
            }
            if let Some(origin) = &self.origin {
                subtract(&mut vector, origin);
            }
            self.vectors.extend_from_slice(&vector);
            self.rows.push(row as u32);
        }
        Ok(())
    }
}

/// A coded row.
struct Record {
    partition: u32,
    row: u32,
    code: Vec<u8>,
}

/// Rows of one partition and their codes.
type CodedList = Vec<(u32, Box<[u8]>)>;

/// Coded rows, in a file that is gone when it is closed.
struct Coded {
    file: BufWriter<File>,
    path: std::path::PathBuf,
    code_bytes: usize,
    counts: Vec<u64>,
}

impl Coded {
    fn new(plan: &Plan<'_>, partitions: usize, code_bytes: usize) -> Result<Coded> {
        let path = plan.store.dataset().path().to_owned();
        let file = tempfile::tempfile_in(&path)
            .map_err(ringtake_storage::Error::io("make a file in", &path))?;
        Ok(Coded {
            file: BufWriter::with_capacity(1 << 20, file),
            path,
            code_bytes,
            counts: vec![0; partitions],
        })
    }

    fn record_bytes(&self) -> usize {
        8 + self.code_bytes
    }

    fn push(&mut self, records: &[Record]) -> Result<()> {
        for record in records {
            self.counts[record.partition as usize] += 1;
            let mut write = |bytes: &[u8]| self.file.write_all(bytes);
            write(&record.partition.to_le_bytes())
                .and_then(|()| write(&record.row.to_le_bytes()))
                .and_then(|()| write(&record.code))
                .map_err(ringtake_storage::Error::io("write a file in", &self.path))?;
        }
        Ok(())
    }

    /// Appends the rows of all partitions in their order, and commits.
    fn write(
        mut self,
        mut writer: IndexWriter,
        gather_bytes_max: u64,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let failed = |error| ringtake_storage::Error::io("write a file in", &self.path)(error);
        self.file.flush().map_err(failed)?;
        let record_bytes = self.record_bytes();
        let rows: u64 = self.counts.iter().sum();
        let (mut first, mut done) = (0, 0);
        while first < self.counts.len() {
            let (mut end, mut bytes) = (first, 0);
            while end < self.counts.len() {
                bytes += self.counts[end] * record_bytes as u64;
                if end > first && bytes > gather_bytes_max {
                    break;
                }
                end += 1;
            }
            for mut list in self.gather(first..end, rows)? {
                list.sort_unstable_by_key(|(row, _)| *row);
                let ids: Vec<u32> = list.iter().map(|(row, _)| *row).collect();
                let codes: Vec<u8> = list.into_iter().flat_map(|(_, code)| code).collect();
                writer.push_list(&ids, &codes)?;
                done += ids.len() as u64;
            }
            first = end;
            tell(watch, "writing", done, rows)?;
        }
        writer.commit()?;
        Ok(())
    }

    /// The rows of `partitions`, by reading all.
    fn gather(&mut self, partitions: std::ops::Range<usize>, rows: u64) -> Result<Vec<CodedList>> {
        let failed = |error| ringtake_storage::Error::io("read a file in", &self.path)(error);
        let mut lists = vec![Vec::new(); partitions.len()];
        let mut file = self.file.get_ref();
        file.rewind().map_err(failed)?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut record = vec![0; self.record_bytes()];
        for _ in 0..rows {
            let failed = |error| ringtake_storage::Error::io("read a file in", &self.path)(error);
            file.read_exact(&mut record).map_err(failed)?;
            let at = |at: usize| [record[at], record[at + 1], record[at + 2], record[at + 3]];
            let partition = u32::from_le_bytes(at(0)) as usize;
            if let Some(place) = partition.checked_sub(partitions.start)
                && let Some(list) = lists.get_mut(place)
            {
                list.push((u32::from_le_bytes(at(4)), record[8..].into()));
            }
        }
        Ok(lists)
    }
}

#[cfg(test)]
mod tests {
    use super::nearest_power_of_two;

    #[test]
    fn partitions_are_the_nearest_power_of_two() {
        for (n, nearest) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (5, 4),
            (6, 8),
            (244, 256),
            (2441, 2048),
        ] {
            assert_eq!(nearest_power_of_two(n), nearest, "{n}");
        }
    }
}
