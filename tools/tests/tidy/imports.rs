//! Which file of a crate needs which, read from its `use` lines and paths, and the two rules
//! about it: no circles, and between the rooms of a crate one direction.
//!
//! A name that a module passes on (`pub use`) leads to the file that defines it. Code for tests
//! alone is left out.

use std::collections::{BTreeMap, BTreeSet};

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};

use crate::house::{CRATES, Crate};
use crate::source::{Source, Violation};

/// Violations of both rules in the project's crates.
pub(crate) fn of_all_crates(sources: &[Source]) -> Vec<Violation> {
    CRATES
        .iter()
        .flat_map(|house| in_crate(house, sources))
        .collect()
}

fn in_crate(house: &Crate, sources: &[Source]) -> Vec<Violation> {
    let mut modules = Modules {
        sources,
        modules: BTreeMap::new(),
    };
    modules.read_file(&format!("{}/lib.rs", house.source), Vec::new());
    let arrows = modules.arrows();
    let mut violations = wrong_arrows(house, &arrows);
    violations.extend(circles(&arrows));
    violations
}

/// One file needs another: from, to, and the line that says so first.
type Arrows<'a> = BTreeMap<(&'a str, &'a str), usize>;

/// Arrows that run upwards between rooms, and rooms that have no floor.
fn wrong_arrows(house: &Crate, arrows: &Arrows<'_>) -> Vec<Violation> {
    let room = |path: &str| {
        let inside = &path[house.source.len() + 1..];
        inside
            .split('/')
            .next()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned()
    };
    let floor = |path: &str| house.rooms.iter().position(|name| *name == room(path));
    let mut violations = Vec::new();
    let mut without_floor = BTreeSet::new();
    for (&(from, to), &line) in arrows {
        if house.rooms.is_empty() || room(from) == "lib" || room(from) == room(to) {
            continue;
        }
        let message = match (floor(from), floor(to)) {
            _ if room(to) == "lib" => format!("{} needs the crate's root", room(from)),
            (None, _) if without_floor.insert(room(from)) => {
                format!("the room {} has no floor", room(from))
            }
            (Some(above), Some(below)) if above > below => format!("{} needs {to}", room(from)),
            _ => continue,
        };
        violations.push(Violation {
            rule: "arrow",
            path: from.to_owned(),
            line,
            message,
        });
    }
    violations
}

/// Files that need each other, one violation for each file of a circle.
fn circles(arrows: &Arrows<'_>) -> Vec<Violation> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for &(from, _) in arrows.keys() {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            let next = arrows
                .keys()
                .filter(|arrow| arrow.0 == file)
                .map(|arrow| arrow.1);
            open.extend(next.filter(|to| seen.insert(*to)));
        }
        reached.insert(from, seen);
    }
    let back = |from: &str, to: &str| reached.get(to).is_some_and(|seen| seen.contains(from));
    let mut needs: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
    for (&(from, to), &line) in arrows {
        if back(from, to) {
            needs.entry(from).or_insert((line, Vec::new())).1.push(to);
        }
    }
    let violation = |(from, (line, to)): (&str, (usize, Vec<&str>))| {
        let message = format!("is in a circle with {}", to.join(", "));
        Violation {
            rule: "circle",
            path: from.to_owned(),
            line,
            message,
        }
    };
    needs.into_iter().map(violation).collect()
}

/// A path of names, with the line it stands in.
type Named = (Vec<String>, usize);

/// A module, whether it has a file of its own or not.
#[derive(Default)]
struct Module<'a> {
    file: &'a str,
    defined: BTreeSet<String>,
    /// Names bound by `use`; `*` stands for every name.
    imports: Vec<(String, Vec<String>)>,
    /// Paths that make this module need others.
    needs: Vec<Named>,
}

struct Modules<'a> {
    sources: &'a [Source],
    modules: BTreeMap<Vec<String>, Module<'a>>,
}

impl<'a> Modules<'a> {
    fn read_file(&mut self, path: &str, name: Vec<String>) {
        let source = self.sources.iter().find(|source| source.path == path);
        let source = source.unwrap_or_else(|| panic!("there is no {path} for the module {name:?}"));
        self.read_items(&source.path, name, &source.syntax.as_ref().unwrap().items);
    }

    fn read_items(&mut self, file: &'a str, name: Vec<String>, items: &'a [syn::Item]) {
        let mut module = Module {
            file,
            ..Module::default()
        };
        for item in items {
            module.visit_item(item);
            let syn::Item::Mod(child) = item else {
                continue;
            };
            if for_tests(&child.attrs) {
                continue;
            }
            let mut inner = name.clone();
            inner.push(child.ident.to_string());
            if let Some((_, items)) = &child.content {
                self.read_items(file, inner, items);
                continue;
            }
            let (directory, stem) = file.rsplit_once('/').unwrap();
            let path = match path_attribute(&child.attrs) {
                Some(path) => format!("{directory}/{path}"),
                None if name.is_empty() => format!("{directory}/{}.rs", child.ident),
                None => format!(
                    "{directory}/{}/{}.rs",
                    stem.trim_end_matches(".rs"),
                    child.ident
                ),
            };
            self.read_file(&path, inner);
        }
        self.modules.insert(name, module);
    }

    fn arrows(&self) -> Arrows<'_> {
        let mut arrows = Arrows::new();
        for (name, module) in &self.modules {
            for (path, line) in &module.needs {
                let Some(to) = self.resolve(name, path, 0) else {
                    continue;
                };
                let to = self.modules[&to].file;
                if to != module.file {
                    arrows.entry((module.file, to)).or_insert(*line);
                }
            }
        }
        arrows
    }

    /// The module that defines what `path` names in module `from`, if this crate does.
    fn resolve(&self, from: &[String], path: &[String], depth: u32) -> Option<Vec<String>> {
        // Two globs that import each other would send the search in circles.
        let (first, rest) = path.split_first().filter(|_| depth < 16)?;
        match first.as_str() {
            "crate" => return self.descend(&[], rest, depth),
            "self" => return self.descend(from, rest, depth),
            "super" => return self.descend(&from[..from.len().checked_sub(1)?], rest, depth),
            _ => {}
        }
        // One name alone may be a variable, which shadows the module that is called the same.
        if !rest.is_empty()
            && self
                .modules
                .contains_key(&[from, std::slice::from_ref(first)].concat())
        {
            return self.descend(from, path, depth);
        }
        self.found_in(from, path, depth)
    }

    fn descend(&self, module: &[String], rest: &[String], depth: u32) -> Option<Vec<String>> {
        let Some((first, below)) = rest.split_first().filter(|(first, _)| *first != "*") else {
            return Some(module.to_vec());
        };
        if first == "super" {
            return self.descend(&module[..module.len().checked_sub(1)?], below, depth);
        }
        let child = [module, std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return self.descend(&child, below, depth);
        }
        Some(
            self.found_in(module, rest, depth)
                .unwrap_or_else(|| module.to_vec()),
        )
    }

    /// Looks for the first name of `path` among those that `module` defines or imports.
    fn found_in(&self, module: &[String], path: &[String], depth: u32) -> Option<Vec<String>> {
        let here = self.modules.get(module)?;
        if here.defined.contains(&path[0]) {
            return Some(module.to_vec());
        }
        if let Some((_, import)) = here.imports.iter().find(|(name, _)| *name == path[0]) {
            // `use x::y` where `x` is no module of this crate names another crate.
            return self.resolve(module, &[import, &path[1..]].concat(), depth + 1);
        }
        here.imports
            .iter()
            .filter(|(name, _)| name == "*")
            .find_map(|(_, import)| {
                let glob = self.resolve(module, import, depth + 1)?;
                if glob == module {
                    None
                } else {
                    self.found_in(&glob, path, depth + 1)
                }
            })
    }
}

fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    let path = attributes
        .iter()
        .find(|attribute| attribute.path().is_ident("path"))?;
    match &path.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(path),
            ..
        }) => Some(path.value()),
        _ => None,
    }
}

/// Whether the compiler sees what has these attributes in tests alone.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            condition == "test" || condition.starts_with("all(test,")
        }
        syn::Meta::Path(path) => path.is_ident("test"),
        _ => false,
    })
}

impl Module<'_> {
    fn import(&mut self, tree: &syn::UseTree, mut path: Vec<String>, passed_on: bool) {
        let (name, last, span) = match tree {
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                return self.import(&part.tree, path, passed_on);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, path.clone(), passed_on);
                }
                return;
            }
            syn::UseTree::Name(name) => (
                name.ident.to_string(),
                name.ident.to_string(),
                name.ident.span(),
            ),
            syn::UseTree::Rename(name) => (
                name.rename.to_string(),
                name.ident.to_string(),
                name.ident.span(),
            ),
            syn::UseTree::Glob(glob) => ("*".to_owned(), "*".to_owned(), glob.star_token.spans[0]),
        };
        let name = if name == "self" {
            path.last().unwrap().clone()
        } else {
            name
        };
        if last != "self" {
            path.push(last);
        }
        if !passed_on {
            self.needs.push((path.clone(), span.start().line));
        }
        self.imports.push((name, path));
    }
}

/// Visits what is not for tests alone, and keeps the name where it defines something.
macro_rules! visit_shipped {
    ($($visit:ident $node:ident $(defines $name:ident)?),* $(,)?) => {
        $(fn $visit(&mut self, node: &'a syn::$node) {
            if !for_tests(&node.attrs) {
                $(self.defined.insert(node.$name.to_string());)?
                visit::$visit(self, node);
            }
        })*
    };
}

impl<'a> Visit<'a> for Module<'_> {
    visit_shipped! {
        visit_item_const ItemConst defines ident,
        visit_item_enum ItemEnum defines ident,
        visit_item_static ItemStatic defines ident,
        visit_item_struct ItemStruct defines ident,
        visit_item_trait ItemTrait defines ident,
        visit_item_type ItemType defines ident,
        visit_item_impl ItemImpl,
        visit_impl_item_fn ImplItemFn,
        visit_variant Variant,
        visit_field Field,
        visit_field_value FieldValue,
        visit_arm Arm,
        visit_local Local,
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !for_tests(&item.attrs) {
            self.defined.insert(item.sig.ident.to_string());
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if !for_tests(&item.attrs) {
            let passed_on = !matches!(item.vis, syn::Visibility::Inherited);
            self.import(&item.tree, Vec::new(), passed_on);
        }
    }

    /// Another module, which is read as such.
    fn visit_item_mod(&mut self, _: &'a syn::ItemMod) {}

    /// `pub(crate)` names a module and needs none.
    fn visit_visibility(&mut self, _: &'a syn::Visibility) {}

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.needs
            .push((names.collect(), path.segments[0].ident.span().start().line));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        let arguments =
            call.parse_body_with(Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated);
        let mut inside = Module::default();
        arguments
            .iter()
            .flatten()
            .for_each(|argument| inside.visit_expr(argument));
        self.needs.append(&mut inside.needs);
        visit::visit_macro(self, call);
    }
}

#[cfg(test)]
fn found(rooms: &'static [&'static str], files: &[(&str, &str)]) -> Vec<String> {
    let house = Crate {
        source: "x/src",
        rooms,
    };
    let sources: Vec<Source> = files
        .iter()
        .map(|(path, text)| Source::new(&format!("x/src/{path}"), (*text).to_owned()))
        .collect();
    in_crate(&house, &sources)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_circle_is_found_through_names_that_are_passed_on_but_not_in_tests() {
    let circle = found(
        &[],
        &[
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "mod c; pub use c::A; use crate::b;"),
            (
                "a/c.rs",
                "pub struct A; impl A { fn f() { vec![super::super::b::g()]; } }",
            ),
            ("b.rs", "use crate::A; pub(crate) fn g() {}"),
        ],
    );
    assert_eq!(circle.len(), 2, "{circle:?}");
    assert!(
        circle[0].contains("x/src/a/c.rs:1: is in a circle with x/src/b.rs"),
        "{circle:?}"
    );
    let in_tests = found(
        &[],
        &[
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }",
            ),
            ("b.rs", "pub struct B(crate::a::A);"),
        ],
    );
    assert_eq!(in_tests, [""; 0]);
}

#[test]
fn an_arrow_upwards_and_a_room_without_a_floor_are_found() {
    let files = [
        (
            "lib.rs",
            "mod high; mod low; mod aside; pub type Result = ();",
        ),
        ("high.rs", "use crate::low::Low; pub struct High;"),
        ("low.rs", "mod inner; pub struct Low;"),
        (
            "low/inner.rs",
            "fn f() -> crate::Result { let _ = crate::high::High; }",
        ),
        ("aside.rs", "use crate::low::Low;"),
    ];
    let arrows = found(&["high", "low"], &files);
    let says = |what: &str| arrows.iter().any(|arrow| arrow.contains(what));
    assert!(
        says("low/inner.rs:1: low needs x/src/high.rs"),
        "{arrows:?}"
    );
    assert!(says("low needs the crate's root"), "{arrows:?}");
    assert!(says("the room aside has no floor"), "{arrows:?}");
    assert_eq!(
        arrows
            .iter()
            .filter(|arrow| arrow.starts_with("arrow"))
            .count(),
        3,
        "{arrows:?}"
    );
}
