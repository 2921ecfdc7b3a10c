//! The project's source files, read and parsed, and the violations that rules report in them.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::house::AREAS;

/// The names of the rules.
pub(crate) const RULES: [&str; 10] = [
    "function",
    "file",
    "unsafe",
    "sentence",
    "summary",
    "word",
    "number",
    "arrow",
    "circle",
    "reference",
];

/// A Rust file, or a text (a script, a document) that has words alone.
pub(crate) struct Source {
    /// Path from the project's root.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) syntax: Option<syn::File>,
}

/// A place where the project breaks one of its rules.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Violation {
    /// The part of the project whose violations are counted together.
    pub(crate) fn area(&self) -> &'static str {
        let within = |area: &&&str| self.path.starts_with(&format!("{area}/"));
        AREAS.iter().find(within).unwrap_or(&"root")
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}:{}: {}",
            self.rule, self.path, self.line, self.message
        )
    }
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Source {
        let parse =
            |text: &str| syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let syntax = path.ends_with(".rs").then(|| parse(&text));
        Source {
            path: path.to_owned(),
            text,
            syntax,
        }
    }

    pub(crate) fn violation(&self, rule: &'static str, line: usize, message: String) -> Violation {
        Violation {
            rule,
            path: self.path.clone(),
            line,
            message,
        }
    }
}

/// Everything under the project's root that people wrote in Rust, shell or Markdown.
pub(crate) fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut paths = Vec::new();
    walk(root, &mut paths);
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            Source::new(name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", "corpus", "artifacts", "node_modules"].contains(&name)
                && !name.starts_with('.')
            {
                walk(&path, paths);
            }
        } else if [".rs", ".sh", ".md"].iter().any(|end| name.ends_with(end)) {
            paths.push(path);
        }
    }
}
