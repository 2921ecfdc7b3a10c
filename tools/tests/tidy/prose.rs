//! Documentation that stands alone, in plain words, and that repeats no number of a constant.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use crate::house::{BANNED_BEGINNINGS, BANNED_WORDS, NUMBERS_SHARED_MIN};
use crate::source::{Source, Violation};

/// Consecutive lines of one doc comment.
struct Doc<'a> {
    /// Line of its first line.
    line: usize,
    lines: Vec<&'a str>,
}

/// The doc comments of a file, without the lines of code examples.
fn docs(source: &Source) -> Vec<Doc<'_>> {
    let mut docs: Vec<Doc<'_>> = Vec::new();
    let mut open = None;
    let mut code = false;
    for (at, line) in source.text.lines().enumerate() {
        let line = line.trim_start();
        let mark = ["///", "//!"]
            .into_iter()
            .find(|mark| line.starts_with(mark) && !line.starts_with("////"));
        let text = mark.map(|mark| line[mark.len()..].trim());
        match (text, docs.last_mut()) {
            (None, _) => code = false,
            (Some(text), Some(doc)) if open == mark => {
                let fence = text.starts_with("```");
                code ^= fence;
                doc.lines.push(if code || fence { "" } else { text });
            }
            (Some(text), _) => docs.push(Doc {
                line: at + 1,
                lines: vec![text],
            }),
        }
        open = mark;
    }
    docs
}

/// A file that does not begin by saying in a sentence what it holds.
pub(crate) fn missing_sentence(source: &Source) -> Option<Violation> {
    source.syntax.as_ref()?;
    let first: Vec<&str> = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .take_while(|line| !line.trim().is_empty())
        .collect();
    let sentence = first.join(" ");
    (!sentence.contains(". ") && !sentence.ends_with(['.', ':'])).then(|| {
        source.violation(
            "sentence",
            1,
            "does not begin with a sentence in `//!`".to_owned(),
        )
    })
}

/// Doc comments whose first words say nothing when they stand alone.
pub(crate) fn summaries(source: &Source) -> Vec<Violation> {
    docs(source)
        .iter()
        .filter_map(|doc| {
            let summary = doc.lines[0];
            let after =
                |start: &&(&str, &str)| summary.strip_prefix(start.0).is_some_and(ends_word);
            let (_, instead) = BANNED_BEGINNINGS.iter().find(after)?;
            Some(source.violation("summary", doc.line, format!("\"{summary}\": {instead}")))
        })
        .collect()
}

fn ends_word(rest: &str) -> bool {
    !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '\'')
}

/// Words that are this project's dialect and nobody else's.
pub(crate) fn dialect(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let line = line.to_lowercase();
        for (word, instead) in BANNED_WORDS {
            let stands = |(start, _): (usize, &str)| {
                ends_word(&line[start + word.len()..])
                    && !line[..start].ends_with(|last: char| last.is_alphanumeric() || last == '_')
            };
            if line.match_indices(word).any(stands) {
                violations.push(source.violation("word", at + 1, format!("\"{word}\": {instead}")));
            }
        }
    }
    violations
}

/// Doc comments that repeat the number of a constant: its own, or one of the same file that is
/// large enough to be no coincidence.
pub(crate) fn repeated_numbers(source: &Source) -> Vec<Violation> {
    let mut constants = Constants(Vec::new());
    if let Some(syntax) = &source.syntax {
        constants.visit_file(syntax);
    }
    let mut spellings: BTreeMap<(usize, usize), String> = BTreeMap::new();
    for doc in docs(source) {
        let text = doc.lines.join(" ").to_lowercase();
        let end = doc.line + doc.lines.len();
        for constant in &constants.0 {
            let own =
                constant.first_line <= doc.line && doc.line < constant.line && end <= constant.line;
            if constant.value < if own { 3 } else { NUMBERS_SHARED_MIN } {
                continue;
            }
            for spelling in spellings_of(constant.value) {
                if text
                    .match_indices(&spelling)
                    .any(|(start, _)| is_whole(&text, start, spelling.len()))
                {
                    let key = (doc.line, constant.line);
                    spellings.insert(key, format!("\"{spelling}\" repeats `{}`", constant.name));
                }
            }
        }
    }
    spellings
        .into_iter()
        .map(|((line, _), message)| source.violation("number", line, message))
        .collect()
}

/// Whether the number at `start` is no part of a larger one, nor of a name.
fn is_whole(text: &str, start: usize, bytes: usize) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || "_`^-".contains(c);
    let (before, after) = (&text[..start], &text[start + bytes..]);
    let grows = after
        .strip_prefix(['.', ','])
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    !before.ends_with(|c| in_name(c) || c == '.' || c == ',')
        && !after.starts_with(in_name)
        && !grows
}

/// How prose spells a number.
fn spellings_of(value: u64) -> Vec<String> {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let mut spellings = vec![digits, grouped];
    for (shift, unit) in [(10, "kib"), (20, "mib"), (30, "gib")] {
        if value >> shift > 0 && value.trailing_zeros() >= shift {
            spellings.push(format!("{} {unit}", value >> shift));
        }
    }
    spellings.dedup();
    spellings
}

/// A constant that is a number.
struct Constant {
    name: String,
    /// Line of its first attribute.
    first_line: usize,
    line: usize,
    value: u64,
}

struct Constants(Vec<Constant>);

impl Constants {
    fn add(&mut self, name: &syn::Ident, attributes: &[syn::Attribute], value: &syn::Expr) {
        let line = name.span().start().line;
        let first_line = attributes
            .first()
            .map_or(line, |first| first.pound_token.spans[0].start().line);
        if let Some(value) = evaluate(value) {
            self.0.push(Constant {
                name: name.to_string(),
                first_line,
                line,
                value,
            });
        }
    }
}

impl<'a> Visit<'a> for Constants {
    fn visit_item_const(&mut self, item: &'a syn::ItemConst) {
        self.add(&item.ident, &item.attrs, &item.expr);
        visit::visit_item_const(self, item);
    }

    fn visit_impl_item_const(&mut self, item: &'a syn::ImplItemConst) {
        self.add(&item.ident, &item.attrs, &item.expr);
        visit::visit_impl_item_const(self, item);
    }
}

/// The number that an expression of literals comes to; of a duration, the number it is made from.
fn evaluate(value: &syn::Expr) -> Option<u64> {
    match value {
        syn::Expr::Lit(literal) => match &literal.lit {
            syn::Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        syn::Expr::Paren(inner) => evaluate(&inner.expr),
        syn::Expr::Call(call) if call.args.len() == 1 => evaluate(&call.args[0]),
        syn::Expr::Binary(binary) => {
            let (left, right) = (evaluate(&binary.left)?, evaluate(&binary.right)?);
            match binary.op {
                syn::BinOp::Mul(_) => left.checked_mul(right),
                syn::BinOp::Add(_) => left.checked_add(right),
                syn::BinOp::Sub(_) => left.checked_sub(right),
                syn::BinOp::Shl(_) => left.checked_shl(u32::try_from(right).ok()?),
                _ => None,
            }
        }
        _ => None,
    }
}

#[test]
fn each_rule_about_prose_can_fail() {
    let source = |text: &str| Source::new("a.rs", text.to_owned());
    assert!(missing_sentence(&source("//! A file of one noun.\nfn f() {}\n")).is_none());
    assert!(missing_sentence(&source("fn f() {}\n")).is_some());
    assert!(missing_sentence(&source("//! A noun\n\nfn f() {}\n")).is_some());

    let fragments = source(
        "/// Of a shard.\nfn a() {}\n/// Office hours.\nfn b() {}\n/// See the module.\nstruct C;\n",
    );
    assert_eq!(
        summaries(&fragments)
            .iter()
            .map(|v| v.line)
            .collect::<Vec<_>>(),
        [1, 5]
    );

    let words =
        source("// The caller is Told.\n// A retold story.\nfn f() { let told_before = 1; }\n");
    assert_eq!(
        dialect(&words).iter().map(|v| v.line).collect::<Vec<_>>(),
        [1]
    );
}

#[test]
fn a_number_that_a_comment_repeats_is_found() {
    let lines = |text: &str| {
        let found = repeated_numbers(&Source::new("a.rs", text.to_owned()));
        found
            .iter()
            .map(|violation| violation.line)
            .collect::<Vec<_>>()
    };
    let rows = "const ROWS_MAX: usize = 65_536;\n";
    assert_eq!(
        lines(&format!("/// At most 65,536, since ids are short.\n{rows}")),
        [1]
    );
    assert_eq!(
        lines(&format!("{rows}/// Takes of 65536 rows.\nfn f() {{}}\n")),
        [2]
    );
    assert_eq!(
        lines(&format!(
            "{rows}/// Takes of 165,536 rows, version 65536.1.\nfn f() {{}}\n"
        )),
        [0; 0]
    );
    assert_eq!(
        lines("/// Each has 64 KiB.\nconst BYTES: u64 = 64 << 10;\n"),
        [1]
    );
    assert_eq!(
        lines("/// Waits 200 ms.\nconst WAIT: Duration = Duration::from_millis(200);\n"),
        [1]
    );
    assert_eq!(
        lines("const LANES: u64 = 8;\n/// Adds 8 numbers.\nfn f() {}\n"),
        [0; 0]
    );
    assert_eq!(
        lines("/// ```\n/// f(65_536);\n/// ```\nconst ROWS: u64 = 65_536;\n"),
        [0; 0]
    );
}
