//! Searches against a naive search of all rows.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, Int8Array,
    Int64Array, RecordBatch, UInt8Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Float32Type, UInt64Type};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use ringtake_runtime::{
    Axes, CacheChoice, Config, Error, IndexOptions, LatencyClass, RowFilter, SearchError,
    SearchRequest, ShardId, Store, inspect_indexes,
};
use ringtake_storage::manifest::Manifest;
use ringtake_storage::vector::{Element, Metric};
use tempfile::TempDir;

use crate::dataset::{Shape, write_batches};

const DIMS: usize = 40;
const CLUSTERS: usize = 16;

/// Vectors of bytes around some centres; a byte is exact in every type of element. Rows of one
/// centre are neighbours, so that a search finds most of its rows on few shards.
fn vector(row: u64, rows: u64) -> Vec<f32> {
    let cluster = row * CLUSTERS as u64 / rows.max(1);
    let mut centre = ChaCha8Rng::seed_from_u64(cluster);
    let mut noise = ChaCha8Rng::seed_from_u64(1 << 32 | row);
    let element = |_| (centre.random_range(20..100) + noise.random_range(-19..20)) as f32;
    (0..DIMS).map(element).collect()
}

fn query(seed: u64, rows: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let near = vector(random.random_range(0..rows), rows);
    near.into_iter()
        .map(|x| x + random.random_range(-9..10) as f32)
        .collect()
}

fn is_null(row: u64) -> bool {
    row % 13 == 5
}

fn list(items: ArrayRef, nulls: Option<NullBuffer>) -> ArrayRef {
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    Arc::new(FixedSizeListArray::new(item, DIMS as i32, items, nulls))
}

fn batch(ids: &[u64], rows: u64, element: Element) -> RecordBatch {
    let values = || ids.iter().flat_map(|&id| vector(id, rows));
    let items: ArrayRef = match element {
        Element::F32 => Arc::new(values().collect::<Float32Array>()),
        Element::F16 => Arc::new(Float16Array::from_iter_values(
            values().map(half::f16::from_f32),
        )),
        Element::I8 => Arc::new(Int8Array::from_iter_values(values().map(|x| x as i8))),
        Element::U8 => Arc::new(UInt8Array::from_iter_values(values().map(|x| x as u8))),
    };
    let nulls = NullBuffer::from_iter(ids.iter().map(|&id| !is_null(id)));
    let id: Int64Array = ids.iter().map(|&id| Some(id as i64)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(id) as ArrayRef, false),
        ("vector", list(items, Some(nulls)), true),
    ])
    .unwrap()
}

fn write(path: &Path, rows: u64, element: Element) {
    write_batches(path, &Shape::of(rows), |ids| batch(&ids, rows, element));
}

fn config(shards: usize) -> Config {
    Config {
        shards: Some(shards),
        cpus: ringtake_runtime::CpuChoice::Unpinned,
        ..Config::default()
    }
}

fn options(metric: Metric) -> IndexOptions {
    IndexOptions {
        metric,
        partitions: Some(24),
        iterations: 4,
        threads: Some(2),
        ..IndexOptions::default()
    }
}

fn build(path: &Path, options: &IndexOptions) {
    let store = Store::open(path, config(1)).unwrap();
    let rows = store.row_count();
    let mut stages = Vec::new();
    let built = store.build_index("vector", options, &mut |progress| {
        stages.push(progress);
        ControlFlow::Continue(())
    });
    assert_eq!(built.unwrap().column, "vector");
    assert!(stages.iter().all(|at| at.done <= at.of));
    if rows == 0 {
        return;
    }
    for stage in ["sampling", "clustering", "codebooks", "coding", "writing"] {
        assert!(
            stages
                .iter()
                .any(|at| at.stage == stage && at.done == at.of),
            "{stage}"
        );
    }
}

fn indexed(rows: u64, element: Element, options: &IndexOptions) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), rows, element);
    build(dir.path(), options);
    dir
}

fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f(a.into(), b.into())).sum()
    };
    let dot = sum(&|a, b| a * b);
    match metric {
        Metric::L2 => sum(&|a, b| (a - b) * (a - b)),
        Metric::Dot => -dot,
        Metric::Cosine => 1.0 - dot / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt(),
    }
}

/// The nearest `k` of the rows that `passes` lets through, and how far they are.
fn naive(
    metric: Metric,
    rows: u64,
    query: &[f32],
    k: usize,
    passes: impl Fn(u64) -> bool,
) -> Vec<(u64, f64)> {
    let there = (0..rows).filter(|&row| !is_null(row) && passes(row));
    let mut all: Vec<_> = there
        .map(|row| (row, distance(metric, query, &vector(row, rows))))
        .collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn found(batch: &RecordBatch) -> Vec<(u64, f32)> {
    let ids = batch.column(0).as_primitive::<UInt64Type>();
    let distances = batch.column(1).as_primitive::<Float32Type>();
    ids.values()
        .iter()
        .copied()
        .zip(distances.values().iter().copied())
        .collect()
}

/// The rows that a search finds.
fn answer(search: SearchRequest<'_>) -> Vec<(u64, f32)> {
    found(&search.wait().unwrap())
}

/// Every partition, and as many rows read as there are.
fn exhaustive(search: SearchRequest<'_>, k: usize) -> SearchRequest<'_> {
    search.k(k).nprobes(usize::MAX).refine_factor(u32::MAX)
}

fn assert_exact(found: &[(u64, f32)], naive: &[(u64, f64)], what: &str) {
    assert_eq!(found.len(), naive.len(), "{what}");
    for (place, (found, naive)) in found.iter().zip(naive).enumerate() {
        // Rounding may swap rows that are as good as equally far.
        let near = (f64::from(found.1) - naive.1).abs() <= 1e-5 * naive.1.abs().max(1.0);
        assert!(near, "{what}, place {place}: {found:?} for {naive:?}");
    }
}

#[test]
fn a_search_of_everything_is_exact_for_each_element_and_metric() {
    let rows = 1_500;
    for element in [Element::F32, Element::F16, Element::I8, Element::U8] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), rows, element);
        for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
            build(dir.path(), &options(metric));
            let store = Store::open(dir.path(), config(2)).unwrap();
            assert_eq!(store.indexes()[0].metric, metric);
            for seed in 0..5 {
                let query = query(seed, rows);
                let answer = exhaustive(store.search(&query), 20).wait().unwrap();
                let naive = naive(metric, rows, &query, 20, |_| true);
                assert_exact(&found(&answer), &naive, &format!("{element:?} {metric}"));
            }
        }
    }
}

#[test]
fn rows_found_and_rows_read_do_not_depend_on_the_number_of_shards() {
    let (rows, k) = (6_000, 10);
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let mut answers = Vec::new();
    for shards in [1, 2, 3, 8] {
        let store = Store::open(dir.path(), config(shards)).unwrap();
        let mut of_shards = Vec::new();
        for seed in 0..20 {
            let read = || {
                store
                    .stats()
                    .iter()
                    .map(|of_shard| of_shard.rows)
                    .sum::<u64>()
            };
            let before = read();
            let answer = store
                .search(&query(seed, rows))
                .k(k)
                .nprobes(3)
                .refine_factor(10)
                .wait()
                .unwrap();
            assert_eq!(read() - before, 100, "{shards} shards, query {seed}");
            of_shards.push(found(&answer));
        }
        answers.push(of_shards);
    }
    for other in &answers[1..] {
        assert_eq!(&answers[0], other);
    }
}

#[test]
fn few_partitions_and_few_rows_read_find_most_of_the_nearest() {
    let (rows, k) = (6_000, 10);
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        let dir = indexed(rows, Element::F32, &options(metric));
        let store = Store::open(dir.path(), config(2)).unwrap();
        let recall = |refine_factor| {
            let mut hits = 0;
            for seed in 0..40 {
                let query = query(seed, rows);
                let answer = answer(
                    store
                        .search(&query)
                        .k(k)
                        .nprobes(6)
                        .refine_factor(refine_factor),
                );
                let naive = naive(metric, rows, &query, k, |_| true);
                hits += naive
                    .iter()
                    .filter(|(row, _)| answer.iter().any(|(id, _)| id == row))
                    .count();
            }
            hits as f64 / (40 * k) as f64
        };
        let (refined, coded) = (recall(Some(10)), recall(None));
        assert!(refined > 0.95, "{metric}: {refined}");
        assert!(coded > 0.4 && coded < refined, "{metric}: {coded}");
    }
}

#[test]
fn a_search_without_refine_reads_only_what_was_asked_for_beside() {
    let rows = 3_000;
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let store = Store::open(dir.path(), config(2)).unwrap();
    let read = || store.stats().iter().map(|shard| shard.rows).sum::<u64>();
    let answer = store.search(&query(1, rows)).k(15).wait().unwrap();
    assert_eq!(
        (answer.num_rows(), answer.num_columns(), read()),
        (15, 2, 0)
    );
    let answer = store
        .search(&query(1, rows))
        .k(15)
        .projection(&store.projection(&["id", "vector"]).unwrap())
        .wait()
        .unwrap();
    assert_eq!(answer.num_rows(), 15);
    assert_eq!(read(), 15);
    let ids = answer
        .column_by_name("id")
        .unwrap()
        .as_primitive::<arrow::datatypes::Int64Type>();
    for ((row, _), id) in found(&answer).into_iter().zip(ids.values()) {
        assert_eq!(row as i64, *id);
    }
}

#[test]
fn distances_of_codes_are_near_the_exact_ones() {
    let rows = 3_000;
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        let dir = indexed(rows, Element::F32, &options(metric));
        let store = Store::open(dir.path(), config(1)).unwrap();
        let query = query(3, rows);
        let found = answer(store.search(&query).k(1_000).nprobes(24));
        let exact = |row: u64| distance(metric, &query, &vector(row, rows));
        let exact: Vec<f64> = found.iter().map(|(row, _)| exact(*row)).collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / found.len() as f64;
        let middle = mean(&mut exact.iter().copied());
        // Codes that said nothing would be as far off as the distances are from their mean.
        let spread = mean(&mut exact.iter().map(|exact| (exact - middle).abs()));
        let coded = found.iter().map(|(_, coded)| f64::from(*coded));
        let apart = mean(
            &mut coded
                .zip(&exact)
                .map(|(coded, exact)| (coded - exact).abs()),
        );
        assert!(apart < spread / 3.0, "{metric}: {apart} of {spread}");
    }
}

#[test]
fn a_filter_is_applied_before_candidates_are_chosen() {
    let (rows, k) = (4_000, 10);
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let store = Store::open(dir.path(), config(3)).unwrap();
    for seed in 0..5 {
        let query = query(seed, rows);
        // Few rows, none of them near in general; one partition would not hold ten of them.
        let few = |row: u64| row % 97 == 3;
        let near: Vec<u64> = naive(Metric::L2, rows, &query, 500, |_| true)
            .into_iter()
            .map(|at| at.0)
            .collect();
        for (filter, passes) in [
            (
                RowFilter::allow((0..rows).filter(|&row| few(row))),
                Box::new(few) as Box<dyn Fn(u64) -> bool>,
            ),
            (
                RowFilter::forbid(near.clone()),
                Box::new(move |row| !near.contains(&row)),
            ),
        ] {
            let all = exhaustive(store.search(&query), k)
                .filter(&filter)
                .wait()
                .unwrap();
            let expected = naive(Metric::L2, rows, &query, k, &passes);
            assert_exact(&found(&all), &expected, "filtered");
            let few = answer(
                exhaustive(store.search(&query), k)
                    .filter(&filter)
                    .nprobes(1)
                    .refine_factor(2),
            );
            assert_eq!(few.len(), k);
            assert!(few.iter().all(|&(row, _)| passes(row) && !is_null(row)));
        }
    }
}

#[test]
fn rows_that_the_index_does_not_know_are_found() {
    let (rows, k) = (3_000, 10);
    let options = IndexOptions {
        rows: Some(2_000),
        ..options(Metric::L2)
    };
    let dir = indexed(rows, Element::F32, &options);
    let store = Store::open(dir.path(), config(3)).unwrap();
    assert_eq!(store.indexes()[0].rows, 2_000);
    let query = vector(2_500, rows);
    let expected = naive(Metric::L2, rows, &query, k, |_| true);
    assert!(expected.iter().all(|(row, _)| *row >= 2_000));
    for refine_factor in [Some(10), None] {
        let answer = answer(
            store
                .search(&query)
                .k(k)
                .nprobes(1)
                .refine_factor(refine_factor),
        );
        if refine_factor.is_some() {
            assert_exact(&answer, &expected, "rows without codes");
        }
        assert_eq!(answer[0], (2_500, 0.0));
    }
}

/// Vectors of which every tenth has all elements `odd`.
fn write_odd(path: &Path, rows: u64, odd: f32) {
    write_batches(path, &Shape::of(rows), |ids| {
        let values = ids.iter().flat_map(|&id| match is_odd(id) {
            true => vec![odd; DIMS],
            false => vector(id, rows),
        });
        let items: ArrayRef = Arc::new(values.collect::<Float32Array>());
        let id: Int64Array = ids.iter().map(|&id| Some(id as i64)).collect();
        RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(id) as ArrayRef, false),
            ("vector", list(items, None), true),
        ])
        .unwrap()
    });
}

fn is_odd(id: u64) -> bool {
    id % 10 == 3
}

/// Vectors without direction, and those whose length is too large to be computed, spoil neither the
/// index nor a search that measures them for want of codes.
#[test]
fn vectors_without_direction_or_length_are_nobodys_neighbours_with_and_without_codes() {
    let (rows, with_codes) = (600, 400);
    for (metric, odd) in [
        (Metric::Cosine, 0.0),
        (Metric::Cosine, 1e-30),
        // The sum of its squares is subnormal.
        (Metric::Cosine, 1e-21),
        (Metric::L2, 3e38),
        (Metric::Dot, f32::NAN),
        (Metric::L2, f32::NEG_INFINITY),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_odd(dir.path(), rows, odd);
        let options = IndexOptions {
            rows: Some(with_codes),
            ..options(metric)
        };
        build(dir.path(), &options);
        let store = Store::open(dir.path(), config(2)).unwrap();
        let index = &store.indexes()[0];
        assert_eq!(
            index.rows_indexed,
            with_codes - with_codes / 10,
            "{metric}, {odd}"
        );
        let answer = exhaustive(store.search(&vector(7, rows)), rows as usize)
            .wait()
            .unwrap();
        let found = found(&answer);
        assert_eq!(found.len() as u64, rows - rows / 10, "{metric}, {odd}");
        assert!(
            found
                .iter()
                .all(|&(row, distance)| !is_odd(row) && distance.is_finite())
        );
    }
}

#[test]
fn query_beyond_what_distances_can_tell_is_refused() {
    for metric in [Metric::L2, Metric::Dot, Metric::Cosine] {
        let dir = indexed(600, Element::F32, &options(metric));
        let store = Store::open(dir.path(), config(1)).unwrap();
        let answer = exhaustive(store.search(&[3e38; DIMS]), 5).wait();
        match metric {
            // Only its direction counts.
            Metric::Cosine => assert_eq!(answer.unwrap().num_rows(), 5),
            _ => assert!(matches!(answer, Err(Error::Search(SearchError::TooLong)))),
        }
    }
}

#[test]
fn fewer_rows_than_asked_for_all_come_back() {
    let null_free = |rows: u64| (0..rows).filter(|&row| !is_null(row)).count();
    for rows in [0, 1, 5, 6, 30] {
        let dir = indexed(rows, Element::F32, &options(Metric::L2));
        let store = Store::open(dir.path(), config(2)).unwrap();
        for refine_factor in [Some(3), None] {
            let answer = store
                .search(&[1.0; DIMS])
                .k(100)
                .nprobes(1)
                .refine_factor(refine_factor)
                .wait()
                .unwrap();
            assert_eq!(answer.num_rows(), null_free(rows), "{rows} rows");
        }
    }
}

#[test]
fn rows_come_from_the_cache_and_from_pinned_memory_as_from_the_drive() {
    let rows = 4_000;
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let answers = |cache| {
        let store = Store::open(dir.path(), Config { cache, ..config(2) }).unwrap();
        let search = |seed| {
            answer(
                store
                    .search(&query(seed, rows))
                    .k(20)
                    .nprobes(4)
                    .refine_factor(8),
            )
        };
        let first: Vec<_> = (0..10).map(search).collect();
        let reads = store.stats().iter().map(|shard| shard.reads).sum::<u64>();
        let again: Vec<_> = (0..10).map(search).collect();
        assert_eq!(first, again);
        let reads_again = store.stats().iter().map(|shard| shard.reads).sum::<u64>();
        if cache != CacheChoice::Off {
            assert_eq!(reads, reads_again, "{cache} reads what it has");
        }
        first
    };
    let direct = answers(CacheChoice::Off);
    assert_eq!(direct, answers(CacheChoice::Bytes(64 << 20)));
    assert_eq!(direct, answers(CacheChoice::Pinned));
}

#[test]
fn many_searches_at_once_answer_as_one_after_another() {
    let rows = 4_000;
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let store = Store::open(dir.path(), config(3)).unwrap();
    // More than a batch has in flight.
    let queries: Vec<Vec<f32>> = (0..150).map(|seed| query(seed % 20, rows)).collect();
    let alone: Vec<_> = queries
        .iter()
        .map(|query| answer(store.search(query).k(10).nprobes(4).refine_factor(5)))
        .collect();
    let together = store
        .search_batch(&queries.concat())
        .k(10)
        .nprobes(4)
        .refine_factor(5)
        .wait()
        .unwrap();
    assert_eq!(alone, together.iter().map(found).collect::<Vec<_>>());
    let shared: u64 = store.stats().iter().map(|shard| shard.reads_shared).sum();
    assert!(
        shared > 0,
        "queries that want the same rows share their reads"
    );
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, queries, alone) = (&store, &queries, &alone);
            scope.spawn(move || {
                for place in (thread..queries.len()).step_by(4) {
                    let answer = store
                        .search(&queries[place])
                        .k(10)
                        .nprobes(4)
                        .refine_factor(5)
                        .wait()
                        .unwrap();
                    assert_eq!(found(&answer), alone[place]);
                }
            });
        }
    });
}

#[test]
fn searches_that_cannot_be_made_are_refused_in_a_sentence() {
    let rows = 1_000;
    let dir = indexed(rows, Element::F32, &options(Metric::Cosine));
    let store = Store::open(dir.path(), config(2)).unwrap();
    let good = vec![1.0; DIMS];
    let refused = |search: SearchRequest<'_>| match search.wait() {
        Err(Error::Search(error)) => error,
        other => panic!("{other:?}"),
    };
    let mut not_finite = good.clone();
    not_finite[7] = f32::NAN;
    let message = refused(store.search(&not_finite)).to_string();
    assert!(
        message.contains("element 7") && message.contains("NaN"),
        "{message}"
    );
    not_finite[7] = f32::INFINITY;
    let message = refused(store.search(&not_finite)).to_string();
    assert!(message.contains("inf"), "{message}");
    let message = refused(store.search(&good[1..])).to_string();
    assert!(
        message.contains("39") && message.contains("40"),
        "{message}"
    );
    let zeros = [0.0; DIMS];
    assert_eq!(refused(store.search(&zeros)), SearchError::NoDirection);
    let search = store.search(&good);
    for (what, search) in [
        ("k", search.k(0)),
        ("nprobes", search.nprobes(0)),
        ("refine_factor", search.refine_factor(0)),
    ] {
        assert_eq!(refused(search), SearchError::Zero { what });
    }
    let message = refused(search.metric(Metric::L2)).to_string();
    assert!(
        message.contains("cosine") && message.contains("l2"),
        "{message}"
    );
    let message = refused(search.column("id")).to_string();
    assert!(
        message.contains("`id`") && message.contains("vector"),
        "{message}"
    );
    let message = refused(search.column("nowhere")).to_string();
    assert!(message.contains("no column `nowhere`"), "{message}");
    not_finite[7] = f32::NAN;
    let three = [&good[..], &not_finite, &good].concat();
    let message = store.search_batch(&three).wait().unwrap_err().to_string();
    assert!(
        message.contains("query 1") && message.contains("element 7"),
        "{message}"
    );
    match store.search_batch(&[1.0; DIMS + 1]).wait() {
        Err(Error::Search(SearchError::PartOfQuery { .. })) => {}
        other => panic!("{other:?}"),
    }
    let same = search.metric(Metric::Cosine).column("vector");
    assert_eq!(same.wait().unwrap().num_rows(), 10);
}

#[test]
fn a_column_named_as_one_of_the_answers_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_batches(dir.path(), &Shape::of(100), |ids| {
        let rows = batch(&ids, 100, Element::F32);
        let column = |place: usize| rows.column(place).clone();
        RecordBatch::try_from_iter_with_nullable([
            ("_rowid", column(0), false),
            ("vector", column(1), true),
        ])
        .unwrap()
    });
    build(dir.path(), &options(Metric::L2));
    let store = Store::open(dir.path(), config(1)).unwrap();
    let search = |columns: &[&str]| {
        store
            .search(&[50.0; DIMS])
            .projection(&store.projection(columns).unwrap())
            .wait()
    };
    let column = "_rowid".to_owned();
    match search(&["vector", "_rowid"]) {
        Err(Error::Search(refused)) => {
            assert_eq!(refused, SearchError::ReservedColumn { column });
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(search(&["vector"]).unwrap().num_columns(), 3);
}

#[test]
fn a_pipe_in_the_place_of_an_index_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 100, Element::F32);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let pipe = dir.path().join("c1.index");
    rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let store = Store::open(dir.path(), config(1)).unwrap();
    let refused = store.search(&[50.0; DIMS]).wait();
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("not a regular file"), "{message}");
    let ids = store.take(&[3], &store.projection(&["id"]).unwrap()).wait();
    assert_eq!(ids.unwrap().num_rows(), 1);
}

#[test]
fn columns_without_vectors_and_impossible_options_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 100, Element::F32);
    let store = Store::open(dir.path(), config(1)).unwrap();
    let build = |column: &str, options: IndexOptions| {
        store
            .build_index(column, &options, &mut |_| ControlFlow::Continue(()))
            .unwrap_err()
            .to_string()
    };
    assert!(build("id", options(Metric::L2)).contains("Int64"));
    assert!(build("nothing", options(Metric::L2)).contains("vector"));
    for wrong in [
        IndexOptions {
            partitions: Some(0),
            ..options(Metric::L2)
        },
        IndexOptions {
            code_bytes: Some(0),
            ..options(Metric::L2)
        },
        IndexOptions {
            sample_rows_per_partition: 0,
            ..options(Metric::L2)
        },
        IndexOptions {
            threads: Some(0),
            ..options(Metric::L2)
        },
    ] {
        assert!(build("vector", wrong).contains("cannot work"));
    }
    match store.search(&[1.0; DIMS]).wait() {
        Err(Error::Search(SearchError::NoIndex)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_build_that_is_stopped_at_any_stage_leaves_the_index_before_and_nothing_else() {
    let rows = 3_000;
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let index = dir.path().join("c1.index");
    let (before, names_before) = (std::fs::read(&index).unwrap(), names());
    let store = Store::open(dir.path(), config(1)).unwrap();
    // Codes go through many gatherings, so that a build is stopped among its lists too.
    let options = IndexOptions {
        gather_bytes_max: 1,
        ..options(Metric::Dot)
    };
    let stop_at = |at: usize| {
        let mut reported = Vec::new();
        let built = store.build_index("vector", &options, &mut |progress| {
            reported.push(progress.stage);
            match reported.len() > at {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        (built, reported)
    };
    let (built, all) = stop_at(usize::MAX);
    built.unwrap();
    assert_ne!(std::fs::read(&index).unwrap(), before);
    std::fs::write(&index, &before).unwrap();
    let mut stages = all.clone();
    stages.dedup();
    assert_eq!(
        stages,
        [
            "sampling",
            "clustering",
            "axes",
            "codebooks",
            "coding",
            "writing"
        ]
    );
    let ends = |stage: &&str| {
        let first = all.iter().position(|at| at == stage).unwrap();
        let last = all.iter().rposition(|at| at == stage).unwrap();
        [first, last]
    };
    for at in stages.iter().flat_map(ends) {
        let (built, reported) = stop_at(at);
        assert!(matches!(built, Err(Error::Stopped)), "{at}: {built:?}");
        assert_eq!(reported.len(), at + 1, "nothing is reported after the stop");
        assert_eq!(names(), names_before, "stopped at {}", reported[at]);
        assert_eq!(std::fs::read(&index).unwrap(), before);
    }
    // The lock is free again.
    stop_at(usize::MAX).0.unwrap();
}

#[test]
fn what_is_told_of_an_index_is_what_a_store_of_one_shard_has() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 3_000, Element::U8);
    for axes in [Axes::Given, Axes::Principal] {
        let options = IndexOptions {
            axes,
            ..options(Metric::L2)
        };
        let store = Store::open(dir.path(), config(1)).unwrap();
        let built = store.build_index("vector", &options, &mut |_| ControlFlow::Continue(()));
        let store = Store::open(dir.path(), config(1)).unwrap();
        assert_eq!(store.indexes(), [built.unwrap()]);
        let path = dir.path().join("MANIFEST");
        let manifest = Manifest::decode(&path, &std::fs::read(&path).unwrap()).unwrap();
        let inspected = inspect_indexes(dir.path(), &manifest);
        assert_eq!(inspected.len(), 1);
        assert_eq!(inspected[0].index.as_ref(), Ok(&store.indexes()[0]));
        assert_eq!(inspected[0].path, dir.path().join("c1.index"));
    }
}

#[test]
fn an_index_that_does_not_fit_is_refused_and_rows_are_still_taken() {
    let rows = 500;
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let path = dir.path().join("c1.index");
    let whole = std::fs::read(&path).unwrap();
    let refused = |what: &str| {
        let store = Store::open(dir.path(), config(1)).unwrap();
        let error = store.search(&[1.0; DIMS]).wait().unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(what) && message.contains("ringtake index"),
            "{message}"
        );
        assert!(store.info().warnings.contains(&message));
        assert_eq!(
            store
                .take(&[3], &store.all_columns())
                .wait()
                .unwrap()
                .num_rows(),
            1
        );
    };
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        // Bytes between the sections are not read.
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        if damaged[at] == 1 {
            continue;
        }
        std::fs::write(&path, &damaged).unwrap();
        refused("damaged");
    }
    for bytes in [0, 7, 64, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..bytes]).unwrap();
        refused("damaged");
    }
    std::fs::write(&path, &whole).unwrap();
    // A hole longer than memory.
    let file = std::fs::OpenOptions::new().write(true).open(&path);
    file.unwrap().set_len(1 << 43).unwrap();
    refused("damaged");
    std::fs::write(&path, &whole).unwrap();
    let shape = Shape {
        overwrite: ringtake_storage::write::Overwrite::Replace,
        ..Shape::of(rows)
    };
    write_batches(dir.path(), &shape, |ids| batch(&ids, rows, Element::F32));
    assert!(!path.exists(), "the index of the version before is removed");
    std::fs::write(&path, &whole).unwrap();
    refused("another version");
}

#[test]
fn a_search_whose_deadline_has_passed_reads_nothing() {
    let rows = 1_000;
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let store = Store::open(dir.path(), config(2)).unwrap();
    match store
        .search(&query(1, rows))
        .deadline(Instant::now())
        .refine_factor(10)
        .wait()
    {
        Err(Error::DeadlineExceeded { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(store.stats().iter().map(|shard| shard.rows).sum::<u64>(), 0);
}

#[test]
fn a_search_in_line_behind_others_is_told_that_its_deadline_has_passed() {
    const OTHERS: usize = 800;
    let rows = 20_000;
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let store = Store::open(dir.path(), config(1)).unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    let search = async |place: usize, deadline: Option<Instant>, class: LatencyClass| {
        let found = exhaustive(store.search(&query(place as u64, rows)), 1)
            .deadline(deadline)
            .class(class)
            .refine_factor(None)
            .await;
        order.lock().unwrap().push((place, found.is_ok()));
    };
    // The shard stands until all of them are in line.
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let (stands, standing) = std::sync::mpsc::channel();
    let holds = store.run_on(ShardId(0), move |_| async move {
        stands.send(()).unwrap();
        let _ = held.recv();
    });
    let holds = std::thread::spawn(move || futures_lite::future::block_on(holds));
    standing.recv().unwrap();
    let mut all: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + '_>>> = (0..OTHERS)
        .map(|place| Box::pin(search(place, None, LatencyClass::Urgent)) as _)
        .collect();
    let mut poll_all = |context: &mut std::task::Context<'_>| {
        all.retain_mut(|search| search.as_mut().poll(context).is_pending());
        match all.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    };
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(poll_all(&mut context).is_pending());
    let deadline = Instant::now() + std::time::Duration::from_millis(5);
    let mut last = Box::pin(search(OTHERS, Some(deadline), LatencyClass::Bulk));
    assert!(last.as_mut().poll(&mut context).is_pending());
    let_go.send(()).unwrap();
    let others = futures_lite::future::poll_fn(poll_all);
    futures_lite::future::block_on(futures_lite::future::zip(last, others));
    holds.join().unwrap().unwrap();
    let order = std::mem::take(&mut *order.lock().unwrap());
    let place = order.iter().position(|&(place, _)| place == OTHERS);
    let place = place.unwrap();
    assert!(!order[place].1);
    assert!(place < OTHERS / 2, "rejected after {place} others");
}

#[test]
fn searches_that_are_dropped_leave_the_shards_at_work() {
    let rows = 2_000;
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let store = Store::open(dir.path(), config(2)).unwrap();
    for seed in 0..50 {
        let query = query(seed, rows);
        let mut search = Box::pin(exhaustive(store.search(&query), 10).into_future());
        let polled = futures_lite::future::block_on(futures_lite::future::poll_once(&mut search));
        drop((polled, search));
    }
    let answer = exhaustive(store.search(&query(1, rows)), 10)
        .wait()
        .unwrap();
    assert_exact(
        &found(&answer),
        &naive(Metric::L2, rows, &query(1, rows), 10, |_| true),
        "later",
    );
    let watched = store.clone();
    crate::opened::without_hanging(move || {
        while watched.permits().windows > 0 {
            std::thread::yield_now();
        }
    });
    store.close();
    match exhaustive(store.search(&query(1, rows)), 10).wait() {
        Err(Error::Closed) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_row_among_the_candidates_fails_the_search_by_name() {
    let rows = 1_000;
    let dir = indexed(rows, Element::F32, &options(Metric::L2));
    let store = Store::open(dir.path(), config(1)).unwrap();
    let group = store.dataset().columns()[1].group;
    let extent = store.dataset().locator(group).locate(7).unwrap();
    let file = store.dataset().file_path(group, 0);
    drop(store);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[extent.offset as usize + 3] ^= 64;
    std::fs::write(&file, bytes).unwrap();
    let store = Store::open(dir.path(), config(1)).unwrap();
    match exhaustive(store.search(&vector(7, rows)), 5).wait() {
        Err(Error::Rows { faults, rows: 1 }) => assert_eq!(faults[0].row, 7),
        other => panic!("{other:?}"),
    }
}

#[test]
fn vectors_of_a_type_that_is_none_are_no_column_to_index() {
    let list = DataType::new_fixed_size_list(DataType::Float64, 3, true);
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![Field::new(
        "v", list, true,
    )]));
    assert!(ringtake_storage::vector::VectorColumn::named(&schema, "v").is_err());
}

/// A dataset of these vectors, given row by row; `None` for an element that is null.
fn write_vectors(path: &Path, vectors: &[Vec<Option<f32>>]) {
    write_batches(path, &Shape::of(vectors.len() as u64), |ids| {
        let rows = ids
            .iter()
            .map(|&id| Some(vectors[id as usize].iter().copied()));
        let dims = vectors[0].len() as i32;
        let lists = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, dims);
        RecordBatch::try_from_iter_with_nullable([("vector", Arc::new(lists) as ArrayRef, true)])
            .unwrap()
    });
}

fn whole(vectors: impl IntoIterator<Item = Vec<f32>>) -> Vec<Vec<Option<f32>>> {
    let row = |vector: Vec<f32>| vector.into_iter().map(Some).collect();
    vectors.into_iter().map(row).collect()
}

/// Share of the nearest ten by l2 that are found for queries beside every hundredth row.
fn recall(
    vectors: &[Vec<Option<f32>>],
    options: &IndexOptions,
    nprobes: usize,
    refine_factor: u32,
) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    write_vectors(dir.path(), vectors);
    build(dir.path(), options);
    let store = Store::open(dir.path(), config(2)).unwrap();
    let (mut hits, mut wanted) = (0, 0);
    for near in (0..vectors.len()).step_by(100) {
        let query: Vec<f32> = vectors[near].iter().map(|x| x.unwrap() * 1.01).collect();
        let squared = |row: &Vec<Option<f32>>| -> f64 {
            let apart = |(x, q): (&Option<f32>, &f32)| f64::from(x.unwrap()) - f64::from(*q);
            row.iter().zip(&query).map(apart).map(|x| x * x).sum()
        };
        let distances: Vec<f64> = vectors.iter().map(squared).collect();
        let mut sorted = distances.clone();
        sorted.sort_by(f64::total_cmp);
        // Rows as far as the tenth are as good as it.
        let far = sorted[9] * (1.0 + 1e-5);
        let found = answer(
            store
                .search(&query)
                .nprobes(nprobes)
                .refine_factor(refine_factor),
        );
        hits += found
            .iter()
            .filter(|(row, _)| distances[*row as usize] <= far)
            .count();
        wanted += 10;
    }
    hits as f64 / f64::from(wanted)
}

fn clustered(rows: usize, dims: usize, offset: f32, scale: f32) -> Vec<Vec<Option<f32>>> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut near = |at: f32, spread: f32| -> Vec<f32> {
        let element = |_| at + random.random_range(-spread..spread);
        (0..dims).map(element).collect()
    };
    let centres: Vec<Vec<f32>> = (0..50).map(|_| near(0.0, 3.0)).collect();
    let row = |row: usize| {
        let noise = near(0.0, 1.0);
        let centre = &centres[row % centres.len()];
        let element = |(c, x): (&f32, f32)| (c + x + offset) * scale;
        centre.iter().zip(noise).map(element).collect()
    };
    whole((0..rows).map(row))
}

#[test]
fn vectors_far_from_zero_are_found_in_few_partitions() {
    let options = IndexOptions {
        partitions: Some(48),
        ..options(Metric::L2)
    };
    let about_zero = recall(&clustered(4_000, 64, 0.0, 1.0), &options, 4, 10);
    let far = clustered(4_000, 64, 10_000.0, 1.0);
    // A hundredth of that is a long way, so queries are the rows themselves here.
    let dir = tempfile::tempdir().unwrap();
    write_vectors(dir.path(), &far);
    build(dir.path(), &options);
    let store = Store::open(dir.path(), config(1)).unwrap();
    let (mut hits, mut wanted) = (0, 0);
    for near in (0..far.len()).step_by(50) {
        let query: Vec<f32> = far[near].iter().map(|x| x.unwrap()).collect();
        let exact = answer(exhaustive(store.search(&query), 10));
        let few = answer(store.search(&query).nprobes(4).refine_factor(10));
        hits += few.iter().filter(|row| exact.contains(row)).count();
        wanted += exact.len();
    }
    let far = hits as f64 / wanted as f64;
    assert!(about_zero > 0.95 && far > 0.95, "{about_zero} and {far}");
}

#[test]
fn codes_say_as_much_of_small_and_large_vectors_and_of_many_that_are_one() {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let mut row = |_| (0..32).map(|_| random.random_range(-1.0..1.0)).collect();
    let mut duplicates = whole((0..3_000).map(&mut row));
    let one = duplicates[1].clone();
    for (row, vector) in duplicates.iter_mut().enumerate() {
        if row % 4 > 0 {
            vector.clone_from(&one);
        }
    }
    for (vectors, scales) in [
        (whole((0..3_000).map(&mut row)), [1.0, 1e-11, 1e16]),
        (duplicates, [1.0, 1e-5, 1e-7]),
    ] {
        for scale in scales {
            let scaled =
                |row: &Vec<Option<f32>>| row.iter().map(|x| x.map(|x| x * scale)).collect();
            let vectors: Vec<_> = vectors.iter().map(scaled).collect();
            let recall = recall(&vectors, &options(Metric::L2), 24, 5);
            assert!(recall > 0.9, "{recall} at {scale:e}");
        }
    }
}

#[test]
fn vectors_too_large_for_axes_leave_the_index_before_or_a_usable_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut row = |_| {
        (0..8)
            .map(|_| random.random_range(-1e18_f32..1e18))
            .collect()
    };
    write_vectors(dir.path(), &whole((0..500).map(&mut row)));
    for axes in [Axes::Given, Axes::Principal, Axes::Auto] {
        let options = IndexOptions {
            partitions: Some(1),
            axes,
            ..options(Metric::L2)
        };
        build(dir.path(), &options);
        let store = Store::open(dir.path(), config(1)).unwrap();
        assert_eq!(store.indexes().len(), 1, "{:?}", store.info().warnings);
        let query = vec![1e18; 8];
        let exact = answer(exhaustive(store.search(&query), 10));
        let coded = answer(store.search(&query).refine_factor(3));
        let hits = coded.iter().filter(|row| exact.contains(row)).count();
        assert!(hits >= 8, "{axes:?}: {hits}");
    }
}

#[test]
fn rows_without_codes_whose_vectors_have_nulls_are_nobodys_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let mut vectors = whole((0..500).map(|row| vec![row as f32; 8]));
    vectors[499][0] = None;
    write_vectors(dir.path(), &vectors);
    let options = IndexOptions {
        rows: Some(400),
        ..options(Metric::L2)
    };
    build(dir.path(), &options);
    let store = Store::open(dir.path(), config(2)).unwrap();
    // As near as can be to what is stored where the null is.
    let mut query = [499.0; 8];
    query[0] = 0.0;
    let found = answer(exhaustive(store.search(&query), 3));
    let rows: Vec<u64> = found.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [437, 436, 438]);
}

#[test]
fn rows_without_codes_do_not_stand_for_partitions_that_were_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let row = |row: u64| {
        let at = match row {
            1_000.. => 30.0,
            row if row % 2 == 0 => 0.0,
            _ => 10.0,
        };
        vec![at + row as f32 / 1e4; 8]
    };
    write_vectors(dir.path(), &whole((0..1_020).map(row)));
    let options = IndexOptions {
        rows: Some(1_000),
        partitions: Some(2),
        ..options(Metric::L2)
    };
    build(dir.path(), &options);
    let store = Store::open(dir.path(), config(2)).unwrap();
    // Of the near partition no row may be returned.
    let found = answer(store.search(&[0.0; 8]).nprobes(1).refine_factor(10).filter(
        &RowFilter::allow((0..1_020).filter(|row| row % 2 == 1 || *row >= 1_000)),
    ));
    assert_eq!(found.len(), 10);
    assert!(found.iter().all(|(row, _)| *row < 1_000), "{found:?}");
}

#[test]
fn rows_as_far_as_each_other_are_chosen_by_their_ids_whatever_the_number_of_shards() {
    let dir = indexed(
        6_000,
        Element::F32,
        &IndexOptions {
            partitions: Some(4),
            ..options(Metric::Dot)
        },
    );
    let nearest = |shards: usize| {
        let store = Store::open(dir.path(), config(shards)).unwrap();
        // As far from all.
        answer(store.search(&[0.0; DIMS]).nprobes(4).refine_factor(1))
    };
    let one = nearest(1);
    let least: Vec<u64> = (0..6_000).filter(|&row| !is_null(row)).take(10).collect();
    let rows: Vec<u64> = one.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, least);
    for shards in [2, 3, 8] {
        assert_eq!(nearest(shards), one, "{shards} shards");
    }
}
