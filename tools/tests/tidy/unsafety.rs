//! `unsafe` in the places that are named for it, and a compiler that forbids it elsewhere.

use proc_macro2::{TokenStream, TokenTree};

use crate::house::{UNSAFE_PLACES, WITHOUT_UNSAFE};
use crate::source::{Source, Violation};

/// The keyword outside of its places, and a crate root that does not forbid it where it has none.
pub(crate) fn misplaced_unsafe(source: &Source) -> Vec<Violation> {
    if source.syntax.is_none() {
        return Vec::new();
    }
    let mut violations = Vec::new();
    let named = UNSAFE_PLACES.iter().any(|(place, _)| is_in(source, place));
    let lines = unsafe_lines(source);
    if !named {
        let message = "`unsafe` outside of the places named for it";
        violations.extend(
            lines
                .iter()
                .map(|&line| source.violation("unsafe", line, message.to_owned())),
        );
    }
    let forbidden = source.text.contains("#![forbid(unsafe_code)]");
    if WITHOUT_UNSAFE.contains(&source.path.as_str()) && !forbidden {
        violations.push(source.violation("unsafe", 1, "no `#![forbid(unsafe_code)]`".to_owned()));
    }
    violations
}

/// Places that are named for `unsafe` and hold none.
pub(crate) fn places_without_unsafe(sources: &[Source]) -> Vec<&'static str> {
    let holds = |place: &str| {
        let mut inside = sources.iter().filter(|source| is_in(source, place));
        inside.any(|source| !unsafe_lines(source).is_empty())
    };
    let places = UNSAFE_PLACES.iter().map(|(place, _)| *place);
    places.filter(|place| !holds(place)).collect()
}

fn is_in(source: &Source, place: &str) -> bool {
    let inside = source.path.strip_prefix(place);
    inside.is_some_and(|rest| rest.is_empty() || place.ends_with('/'))
}

fn unsafe_lines(source: &Source) -> Vec<usize> {
    let mut lines = Vec::new();
    if source.syntax.is_some() {
        find(source.text.parse().unwrap(), &mut lines);
    }
    lines
}

fn find(tokens: TokenStream, lines: &mut Vec<usize>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => find(group.stream(), lines),
            TokenTree::Ident(word) if word == "unsafe" => lines.push(word.span().start().line),
            _ => {}
        }
    }
}

#[test]
fn unsafe_is_found_in_macros_too_but_not_in_words_about_it() {
    let text =
        "// unsafe\nmacro_rules! m { () => { unsafe { f() } } }\nconst A: &str = \"unsafe\";\n";
    let at = |path: &str| misplaced_unsafe(&Source::new(path, text.to_owned()));
    assert_eq!(at("storage/src/plan.rs")[0].line, 2);
    assert_eq!(at("storage/src/vector/kernels/avx2.rs"), []);
    assert_eq!(at("tools/src/lib.rs").len(), 2);
    let fork = Source::new("runtime/src/host/fork.rs", text.to_owned());
    let empty = places_without_unsafe(&[fork]);
    assert_eq!(empty.len(), UNSAFE_PLACES.len() - 1);
    assert!(!empty.contains(&"runtime/src/host/fork.rs"));
}
