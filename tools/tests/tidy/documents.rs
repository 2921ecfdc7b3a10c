//! References in documents: the files, headings and tests that they name exist.

use std::path::{Component, Path, PathBuf};

use crate::source::{Source, Violation};

/// Folders that a path in backticks may begin in, beside the root and the document's own.
const SOURCES: [&str; 5] = [
    "runtime/src",
    "storage/src",
    "bench/src",
    "tools/src",
    "tools",
];

/// Ends of names that make a span in backticks a path.
const PATH_ENDS: [&str; 6] = [".rs", ".sh", ".md", ".yaml", ".service", "/"];

/// The promises, whose tests are named by their first words.
const PROMISES: &str = "RELIABILITY.md";

/// Links, paths and tests that lead nowhere.
pub(crate) fn dangling_references(sources: &[Source]) -> Vec<Violation> {
    let documents = || sources.iter().filter(|source| source.path.ends_with(".md"));
    let mut violations = Vec::new();
    for document in documents() {
        let folder = Path::new(&document.path).parent().unwrap();
        for (line, text) in prose(document) {
            let mut report =
                |message| violations.push(document.violation("reference", line, message));
            for link in between(text, "](", ")").filter(|link| !link.starts_with("http")) {
                let (file, heading) = link.split_once('#').unwrap_or((link, ""));
                let path = match file {
                    "" => PathBuf::from(&document.path),
                    file => normal(&folder.join(file)),
                };
                let target = documents().find(|other| Path::new(&other.path) == path);
                if !exists(&path) {
                    report(format!("no file for the link \"{link}\""));
                } else if !heading.is_empty()
                    && !target.is_some_and(|target| has_heading(target, heading))
                {
                    report(format!("no heading for the link \"{link}\""));
                }
            }
            for name in between(text, "`", "`") {
                let is_name = |c: char| c.is_alphanumeric() || "_-./@".contains(c);
                if PATH_ENDS.iter().any(|end| name.ends_with(end)) && name.chars().all(is_name) {
                    let mut places = SOURCES.iter().map(|place| Path::new(place).join(name));
                    let near = [
                        PathBuf::from(name),
                        folder.join(name),
                        folder.join("src").join(name),
                    ];
                    if !places.any(|path| exists(&path)) && !near.iter().any(|path| exists(path)) {
                        report(format!("no file `{name}`"));
                    }
                } else if document.path == PROMISES && is_test(name) {
                    let test = format!("fn {}", name.trim_end_matches('…'));
                    if !sources
                        .iter()
                        .any(|source| source.syntax.is_some() && source.text.contains(&test))
                    {
                        report(format!("no test `{name}`"));
                    }
                }
            }
        }
    }
    violations
}

/// The lines outside code blocks, counted from 1.
fn prose(document: &Source) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    document
        .text
        .lines()
        .enumerate()
        .filter_map(move |(at, line)| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            (!code && !fence).then_some((at + 1, line))
        })
}

/// The spans between `open` and the next `close`, in turn.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open)?;
        let (span, after) = after.split_once(close)?;
        rest = after;
        Some(span)
    })
}

/// A name of a test: a sentence of at least four words.
fn is_test(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let whole = name.trim_end_matches('…');
    whole.chars().all(word) && (whole != name || whole.matches('_').count() >= 3)
}

/// Whether the document has a heading with this anchor, as GitHub makes it.
fn has_heading(document: &Source, anchor: &str) -> bool {
    let slug = |title: &str| -> String {
        let kept = title
            .chars()
            .filter(|&c| c.is_alphanumeric() || "-_ ".contains(c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let mut headings = prose(document).filter(|(_, line)| line.starts_with('#'));
    headings.any(|(_, line)| slug(line.trim_start_matches('#').trim()) == anchor)
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}

fn exists(path: &Path) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join(path)
        .exists()
}

#[test]
fn a_reference_to_nothing_is_found_in_a_link_a_path_and_a_promise() {
    let text = "# One *title*\n[a](README.md) [b](nowhere.md) [c](#one-title) [d](#another)\n\
                `tools/src/lib.rs` `cli.rs` `tools/src/nowhere.rs`\n\
                `a_test_that_is_here` `a_test_that…` `a_test_that_is_gone`\n";
    let sources = [
        Source::new("README.md", String::new()),
        Source::new(PROMISES, text.to_owned()),
        Source::new("a.rs", "fn a_test_that_is_here() {}".to_owned()),
    ];
    let found: Vec<_> = dangling_references(&sources)
        .into_iter()
        .map(|v| (v.line, v.message))
        .collect();
    let expected = [
        (2, "no file for the link \"nowhere.md\""),
        (2, "no heading for the link \"#another\""),
        (3, "no file `tools/src/nowhere.rs`"),
        (4, "no test `a_test_that_is_gone`"),
    ];
    assert_eq!(
        found,
        expected.map(|(line, message)| (line, message.to_owned()))
    );
}
