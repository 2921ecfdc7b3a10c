//! `bench vector-search`: the speed and the recall of searches by vector.
//!
//! A run is like one of `bench file-read`, with the number of a query in place of row ids. Recall is
//! measured against the true nearest rows. The yardstick is a loop over a memory map that only
//! computes distances.

mod export;
mod flags;
mod prepared;
mod search_dataset;
mod sweep;

use std::sync::atomic::{AtomicBool, Ordering};

use ringtake_runtime::{IndexInfo, NPROBES_DEFAULT};

use crate::command::vector_search::flags::{Refine, Yardstick};
use crate::command::vector_search::prepared::{Prepared, store_config_of, uncached_config};
use crate::command::vector_search::search_dataset::SearchDataset;
use crate::drive::map_loop::{MapLoop, Measured};
use crate::drive::search_subject::{SearchOptions, SearchSubject};
use crate::drive::store_subject::OpenStore;
use crate::drive::subject::{Alarm, Subject as _};
use crate::error::Error;
use crate::interrupt::stop_if;
use crate::measure::Bench;
use crate::measure::options::Options;
use crate::record::Record;
use crate::record::proof::Cache;
use crate::record::search::SearchFigures;
use crate::tell::output::emit;
use crate::tell::table::{heading, report, words};
use crate::workload::dataset::DatasetFiles;
use crate::workload::search::truth::Truth;

pub(crate) use flags::{EXAMPLES, VectorSearchArgs};

/// The nprobes that are measured by default: the least, and a usual one.
const NPROBES: [usize; 2] = [1, 20];

/// Measures and prints.
pub(crate) fn run(args: &VectorSearchArgs, interrupted: &AtomicBool) -> Result<(), Error> {
    if args.cache == Cache::Mixed {
        return Err(Error::NoMixedSearch);
    }
    let home = SearchDataset::find(args, interrupted)?;
    if let Some(dir) = &args.export {
        let prepared = Prepared::new(args, &home, interrupted)?;
        let config = uncached_config(args, &home)?;
        return export::export(&prepared, &home.dataset, config, dir, interrupted);
    }
    let records = match args.yardstick {
        Some(Yardstick::Map) => vec![measure_map(args, &home, interrupted)?],
        None => measure_store(args, &home, interrupted)?,
    };
    print_records(args, &records)?;
    stop_if(interrupted)
}

/// Prints the records, and writes them where the flags say.
fn print_records(args: &VectorSearchArgs, records: &[Record]) -> Result<(), Error> {
    let text = match (args.sweep, records) {
        (true, [first, ..]) => {
            let mut text = format!("{}\n{}", heading(first), sweep::table(records));
            // A sweep is of short runs, and each would say so in its own numbers.
            let of_each = words(records)
                .into_iter()
                .filter(|(prefix, _)| prefix.starts_with("NOT"));
            for (prefix, words) in words(&records[..1]).into_iter().chain(of_each) {
                if !text.contains(&words) {
                    text += &format!("{prefix}: {words}\n");
                }
            }
            text
        }
        _ => report(records),
    };
    let json = args.run.output.json.path();
    match records {
        [record] => emit(json, &text, record)?,
        records => emit(json, &text, &records)?,
    }
    if let Some(path) = &args.csv {
        sweep::write_csv(path, records)?;
    }
    args.run.output.check_valid(records)
}

/// A record for each number of probes and refine factor.
fn measure_store(
    args: &VectorSearchArgs,
    home: &SearchDataset,
    interrupted: &AtomicBool,
) -> Result<Vec<Record>, Error> {
    let prepared = Prepared::new(args, home, interrupted)?;
    let base = prepared.options(args, home, prepared.candidates(args, Refine::None));
    let mut bench = Bench::open(interrupted, || open(args, home, &prepared, &base.columns))?;
    bench.fill(&base)?;
    let runs = runs(args, prepared.index.as_ref());
    let mut records = Vec::with_capacity(runs.len());
    for (done, (nprobes, refine)) in runs.iter().copied().enumerate() {
        if runs.len() > 1 {
            eprintln!(
                "{}/{} nprobes {nprobes}, refine factor {refine}",
                done + 1,
                runs.len()
            );
        }
        let asked = &mut bench.subject.options;
        (asked.nprobes, asked.refine_factor) = (nprobes, refine.factor());
        let reads = refine != Refine::None || reads_besides(args, &prepared);
        let options = Options {
            // What reads nothing can only be warm.
            cache: if reads { args.cache } else { Cache::Warm },
            ..prepared.options(args, home, prepared.candidates(args, refine))
        };
        let mut record = match bench.measure(&options) {
            // The records measured before are printed.
            Err(Error::Interrupted) if !records.is_empty() => break,
            record => record?,
        };
        if !reads && args.cache == Cache::Cold {
            record.notes.push(format!(
                "without --refine-factor no row is read, so the run with nprobes {nprobes} is warm"
            ));
        }
        let count = args.recall_queries.min(prepared.queries.count());
        let truth = prepared.truth.as_ref().filter(|_| !record.is_partial());
        record.search = Some(SearchFigures {
            nprobes: Some(nprobes),
            recall_at_k: truth
                .map(|truth| recall(&bench, truth, count, interrupted))
                .transpose()?,
            recall_queries: truth.map_or(0, |_| count),
            ..prepared.figures(args, refine)
        });
        records.push(record);
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(records)
}

/// Whether a search reads rows although it refines none.
fn reads_besides(args: &VectorSearchArgs, prepared: &Prepared) -> bool {
    let unindexed = prepared
        .index
        .as_ref()
        .map_or(0, |index| prepared.rows - index.rows);
    !args.columns.is_empty() || unindexed > 0
}

/// The variants to measure, in order.
fn runs(args: &VectorSearchArgs, index: Option<&IndexInfo>) -> Vec<(usize, Refine)> {
    let nprobes = match (args.nprobes.as_slice(), args.sweep) {
        ([], false) => NPROBES.to_vec(),
        ([], true) => sweep::distinct(&sweep::NPROBES, index.map_or(1, |index| index.partitions)),
        (asked, _) => asked.to_vec(),
    };
    let refine = match (args.refine_factor.as_slice(), args.sweep) {
        ([], false) => vec![Refine::Times(10)],
        ([], true) => sweep::REFINE.to_vec(),
        (asked, _) => asked.to_vec(),
    };
    let of = |refine| nprobes.iter().map(move |nprobes| (*nprobes, refine));
    refine.into_iter().flat_map(of).collect()
}

fn open(
    args: &VectorSearchArgs,
    home: &SearchDataset,
    prepared: &Prepared,
    columns: &[String],
) -> Result<SearchSubject, Error> {
    if args.cache == Cache::Cold {
        DatasetFiles::of(&home.dataset, columns)?.drop_from_page_cache();
    }
    let config = store_config_of(args, home, columns, args.cache)?;
    let open = OpenStore::open(&home.dataset, columns, config)?;
    let store = &open.store;
    let projection = match args.columns.as_slice() {
        [] => None,
        names => Some(store.projection(names)?),
    };
    let index = prepared.index.as_ref();
    let searched = index.map_or(0, |index| index.rows_indexed + (prepared.rows - index.rows));
    Ok(SearchSubject {
        queries: prepared.queries.clone(),
        options: SearchOptions {
            column: prepared.name.clone(),
            k: args.k,
            nprobes: NPROBES_DEFAULT,
            refine_factor: None,
            metric: args.metric,
            projection,
        },
        vectors: store.projection(columns)?,
        patience: args.arrivals.patience(),
        rows_found: args.k.min(usize::try_from(searched).unwrap_or(usize::MAX)),
        open,
    })
}

/// Asks the first queries of the pool again and compares the answers with the true nearest rows.
fn recall(
    bench: &Bench<'_, SearchSubject>,
    truth: &Truth,
    count: usize,
    interrupted: &AtomicBool,
) -> Result<f64, Error> {
    let subject = &bench.subject;
    let asking = async {
        let mut sum = 0.0;
        for number in 0..count {
            stop_if(interrupted)?;
            let found = subject.take(&(number as u64)).await?;
            sum += truth.recall(number, &found.row_ids());
        }
        Ok(sum / count as f64)
    };
    subject.drive(asking, &Alarm::default())
}

/// The record of the loop over a map.
fn measure_map(
    args: &VectorSearchArgs,
    home: &SearchDataset,
    interrupted: &AtomicBool,
) -> Result<Record, Error> {
    let prepared = Prepared::new(args, home, interrupted)?;
    let refine = args.refine_factor.first().copied();
    let refine = refine.unwrap_or(Refine::Times(10));
    let candidates = prepared.candidates(args, refine);
    let options = Options {
        cache: Cache::Warm,
        ..prepared.options(args, home, candidates)
    };
    let measured = Measured {
        dataset: &home.dataset,
        name: &prepared.name,
        column: prepared.column,
        metric: prepared.metric,
        queries: &prepared.queries,
        k: args.k,
        candidates,
        seed: args.run.seed,
    };
    let bench = Bench::open(interrupted, || MapLoop::open(&measured))?;
    bench.fill(&options)?;
    let mut record = bench.measure(&options)?;
    record.search = Some(prepared.figures(args, refine));
    Ok(record)
}
