//! Commands that measure several variants in turn, and the estimate made from a record.

use super::*;

#[test]
fn scaling_and_ladder_have_a_record_of_each_variant_and_round() {
    let place = place();
    let dataset = dataset(&place);
    let short = [
        "--seconds",
        "0.05",
        "--rounds",
        "2",
        "--rows-per-query",
        "20",
    ];
    let scaling = written(&dataset, &[&["scaling"][..], &short].concat());
    for name in ["rows_ratio", "shard_capacity_ratio", "invalid_runs"] {
        assert!(scaling.get(name).is_some(), "{name} in {scaling:#}");
    }
    assert_eq!(scaling["records"][0][1]["config"]["store"]["shards"], 1);
    assert_eq!(scaling["records"][1][1]["config"]["store"]["shards"], 2);

    let paths = [
        "--read-paths",
        "ring-per-shard,thread-pool:2",
        "--shards",
        "1",
    ];
    let ladder = written(&dataset, &[&["ladder"][..], &short, &paths].concat());
    let rungs = ladder.as_array().unwrap();
    assert_eq!(rungs.len(), 4);
    for (rung, (scheduler, path)) in rungs.iter().zip([
        ("per-read", "ring-per-shard"),
        ("per-read", "thread-pool:2"),
        ("batched", "ring-per-shard"),
        ("batched", "thread-pool:2"),
    ]) {
        assert_eq!(
            (&rung["scheduler"], &rung["read_path"]),
            (&scheduler.into(), &path.into())
        );
        for record in rung["records"].as_array().unwrap() {
            assert_eq!(
                record["rows_checksum"],
                rungs[0]["records"][0]["rows_checksum"]
            );
        }
    }
}

#[test]
fn plan_estimates_from_a_record_and_rejects_what_is_none() {
    let place = place();
    let dataset = dataset(&place);
    let json = place.path().join("record.json");
    let of_store = record(&dataset, &["--shards", "1"]);
    std::fs::write(&json, of_store.to_string()).unwrap();
    let output = bench(&[
        "plan",
        "--cores",
        "48",
        "--iops",
        "1500000",
        "--from",
        json.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    for part in ["ROWS PER SECOND", "limited by", "assumed: ", "record.json"] {
        assert!(
            stdout(&output).contains(part),
            "{part} in {}",
            stdout(&output)
        );
    }
    std::fs::write(&json, "{}").unwrap();
    let refused = bench(&[
        "plan",
        "--cores",
        "1",
        "--iops",
        "1",
        "--from",
        json.to_str().unwrap(),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("is not a record"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn interference_says_each_percentile_alone_and_beside_bulk_work() {
    let place = place();
    let dataset = dataset(&place);
    let flags = ["interference", "--seconds", "0.1", "--rounds", "2"];
    let result = written(&dataset, &flags);
    let names = ["p50", "p99", "p99.9"];
    for (percentile, name) in result["percentiles"].as_array().unwrap().iter().zip(names) {
        assert_eq!(percentile["name"], name);
        for of in ["alone_us", "beside_bulk_us", "ratio"] {
            assert!(
                percentile[of]["median"].as_f64().unwrap() > 0.0,
                "{result:#}"
            );
        }
    }
    assert_eq!(result["percentiles"].as_array().unwrap().len(), names.len());
    for (runs, is_beside_bulk) in [("alone", false), ("beside_bulk", true)] {
        let runs = result[runs].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        for run in runs {
            assert!(run["takes"].as_u64().unwrap() > 0, "{result:#}");
            assert_eq!(run["bulk_rows_per_s"].is_number(), is_beside_bulk);
        }
    }
}
