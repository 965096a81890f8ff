//! What can be read in one sitting: a file says at its top what it is and lies where one looks for it, and it and its functions have an end.

use super::source::{Crate, File};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const LINES_OF_A_FILE: usize = 600;
const LINES_OF_A_FUNCTION: usize = 60;

pub(crate) fn breaches(file: &File, house: &Crate) -> Vec<String> {
    let mut found = Vec::new();
    if !file.text.starts_with("//!") {
        found.push(format!("{}: does not say what it is", file.path));
    }
    // A module with a folder is in it: `x/mod.rs`, and no `x.rs` beside `x/`.
    if house
        .files
        .iter()
        .any(|other| other.path.starts_with(&format!("{}/", file.path.trim_end_matches(".rs"))))
    {
        found.push(format!("{}: is not in its folder, as `mod.rs`", file.path));
    }
    let lines = file.text.lines().count();
    if lines > LINES_OF_A_FILE {
        found.push(format!("{}: {lines} lines, of {LINES_OF_A_FILE} at most", file.path));
    }
    let mut functions = Functions { file, found };
    functions.visit_file(&syn::parse_file(&file.text).expect("it was parsed before"));
    functions.found
}

struct Functions<'f> {
    file: &'f File,
    found: Vec<String>,
}

impl Functions<'_> {
    fn look(&mut self, name: &syn::Ident, body: &syn::Block) {
        let span = body.span();
        let lines = span.end().line - span.start().line + 1;
        if lines > LINES_OF_A_FUNCTION {
            let what = format!("`{name}` has {lines} lines, of {LINES_OF_A_FUNCTION} at most");
            self.found.push(self.file.breach(name.span().start().line, &what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.look(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.look(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}
