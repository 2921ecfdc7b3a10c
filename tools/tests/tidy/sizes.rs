//! Functions that fit on a screen, files that are read in one sitting. Tests count as well.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::house::{FILE_LINES_MAX, FUNCTION_LINES_MAX};
use crate::source::{Source, Violation};

/// Functions of too many lines, from the signature to the closing brace.
pub(crate) fn long_functions(source: &Source) -> Vec<Violation> {
    let mut functions = Functions(Vec::new());
    if let Some(syntax) = &source.syntax {
        functions.visit_file(syntax);
    }
    functions
        .0
        .into_iter()
        .filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX)
        .map(|(name, line, lines)| {
            source.violation("function", line, format!("`{name}` has {lines} lines"))
        })
        .collect()
}

/// A file of too many lines.
pub(crate) fn long_file(source: &Source) -> Option<Violation> {
    let lines = source.text.lines().count();
    (source.syntax.is_some() && lines > FILE_LINES_MAX)
        .then(|| source.violation("file", 1, format!("{lines} lines")))
}

/// Name, first line and number of lines of each function.
struct Functions(Vec<(String, usize, usize)>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.span().start().line;
        let last = body.brace_token.span.close().end().line;
        self.0
            .push((signature.ident.to_string(), first, last + 1 - first));
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn a_function_or_a_file_that_is_too_long_is_found() {
    let body = "    let _ = 1;\n".repeat(FUNCTION_LINES_MAX - 2);
    let fits = Source::new(
        "a.rs",
        format!("/// Documented.\n#[test]\nfn fits() {{\n{body}}}\n"),
    );
    assert_eq!(long_functions(&fits), []);
    let inside = Source::new("a.rs", format!("impl A {{ fn long() {{\n{body}\n}}\n}}\n"));
    assert_eq!(long_functions(&inside).len(), 1);
    assert!(long_file(&Source::new("a.rs", "\n".repeat(FILE_LINES_MAX))).is_none());
    assert!(long_file(&Source::new("a.rs", "\n".repeat(FILE_LINES_MAX + 1))).is_some());
}
