//! The house rules that a compiler does not hold: how long functions and files may be, where
//! `unsafe` may stand, which way imports run, how documentation reads, and that the files it names
//! exist.
//!
//! Each rule is a function from parsed source to violations, and shows on a snippet that it can
//! fail. `house.rs` holds what the rules know about this project, and the exceptions.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod documents;
mod house;
mod imports;
mod prose;
mod sizes;
mod source;
mod unsafety;

use house::{EXCEPTIONS, STILL_TO_MEND};
use source::Violation;

#[test]
fn the_house_is_in_order() {
    let sources = source::all();
    assert!(sources.len() > 200, "only {} files found", sources.len());
    let mut violations = Vec::new();
    for source in &sources {
        violations.extend(sizes::long_functions(source));
        violations.extend(sizes::long_file(source));
        violations.extend(unsafety::misplaced_unsafe(source));
        violations.extend(prose::missing_sentence(source));
        violations.extend(prose::summaries(source));
        violations.extend(prose::dialect(source));
        violations.extend(prose::repeated_numbers(source));
    }
    violations.extend(imports::of_all_crates(&sources));
    violations.extend(documents::dangling_references(&sources));

    let mut faults = Vec::new();
    for place in unsafety::places_without_unsafe(&sources) {
        faults.push(format!(
            "{place} holds no `unsafe`: remove it from the places"
        ));
    }
    for exception in EXCEPTIONS {
        let before = violations.len();
        violations.retain(|violation| !exception.covers(violation));
        if violations.len() == before {
            faults.push(format!("{exception:?} covers nothing: remove it"));
        }
    }
    violations.sort();
    for violation in &violations {
        println!("{violation}");
    }
    for area in house::AREAS {
        for rule in source::RULES {
            let is_counted = |v: &&Violation| v.rule == rule && v.area() == area;
            let found = violations.iter().filter(is_counted).count();
            let still = STILL_TO_MEND
                .iter()
                .find(|still| (still.0, still.1) == (area, rule));
            let allowed = still.map_or(0, |still| still.2);
            if found > allowed {
                faults.push(format!(
                    "{area}, {rule}: {found} violations, allowed {allowed}"
                ));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{}\nThe violations are listed above.",
        faults.join("\n")
    );
}
