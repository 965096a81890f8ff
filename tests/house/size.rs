//! What can be read in one sitting: a file says at its top what it is, and it and its functions have an end.

use super::source::File;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const LINES_OF_A_FILE: usize = 600;
const LINES_OF_A_FUNCTION: usize = 60;

pub(crate) fn breaches(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    if !file.text.starts_with("//!") {
        found.push(format!("{}: does not say what it is", file.path));
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
