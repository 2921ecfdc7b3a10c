//! Folded stacks, and the part of them that belongs to a stage of a shard.
//!
//! A line is frames from the thread's name on, with semicolons between, and how often it was seen.
//! The frames of a stage are below the function of the shard's engine that is named here. Inlined
//! functions are found too, since perf knows inlined frames.

use std::collections::BTreeMap;

/// Names of shards' threads begin so.
const SHARD: &str = "rt-shard-";

/// Stages by the functions that run them.
pub(super) const STAGES: [(&str, &str); 8] = [
    ("accept", "accept"),
    ("scan", "scan_turn"),
    ("plan", "plan_round"),
    ("submit", "ring_turn"),
    ("deliver", "deliver_completions"),
    ("checksum", "check_row"),
    ("decode", "deliver_row"),
    ("refine", "measure_row"),
];

/// The stacks below `function` on shards' threads, each from there on; empty if there are none.
pub(super) fn below(folded: &str, function: &str) -> Vec<String> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for line in folded.lines().filter(|line| line.starts_with(SHARD)) {
        let Some((stack, count)) = line.rsplit_once(' ') else {
            continue;
        };
        let mut start = 0;
        for frame in stack.split(';') {
            if name(frame) == function {
                let count: u64 = count.parse().unwrap_or(0);
                *sums.entry(&stack[start..]).or_default() += count;
                break;
            }
            start += frame.len() + 1;
        }
    }
    let lines = sums.into_iter();
    lines
        .map(|(stack, count)| format!("{stack} {count}"))
        .collect()
}

/// The last part of a function's path, without its generic arguments.
fn name(frame: &str) -> &str {
    // Inlined and kernel frames carry a mark such as `_[i]`.
    let frame = frame.split("_[").next().unwrap_or(frame);
    let frame = frame.rsplit("::").next().unwrap_or(frame);
    frame.split('<').next().unwrap_or(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDED: &str = "\
rt-shard-0;main;ringtake_runtime::shard::engine::Engine::plan_round;deliver_row_[i];memcpy 5
rt-shard-1;main;ringtake_runtime::shard::engine::Engine::plan_round;deliver_row_[i];memcpy 3
rt-shard-1;main;Engine::deliver_completions;check_row_[i];hash 7
bench-client-0;plan_round;touch 100
rt-shard-0;idle 2
";

    #[test]
    fn stage_is_what_is_below_its_function_on_all_shards() {
        let plan = "ringtake_runtime::shard::engine::Engine::plan_round;deliver_row_[i];memcpy 8";
        assert_eq!(below(FOLDED, "plan_round"), [plan]);
        assert_eq!(below(FOLDED, "check_row"), ["check_row_[i];hash 7"]);
        assert_eq!(below(FOLDED, "deliver_row"), ["deliver_row_[i];memcpy 8"]);
        assert!(below(FOLDED, "scan_turn").is_empty());
    }

    #[test]
    fn functions_are_known_by_the_last_part_of_their_names() {
        for (frame, expected) in [
            ("a::b::plan_round", "plan_round"),
            ("check_row_[i]", "check_row"),
            ("a::Engine::accept", "accept"),
            ("deliver_hits<C>", "deliver_hits"),
            ("__memcpy_avx_[k]", "__memcpy_avx"),
        ] {
            assert_eq!(name(frame), expected, "{frame}");
        }
    }
}
