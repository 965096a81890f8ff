//! No parameter is a tuple that is taken apart: what belongs together is a struct with names, and what does not is so many parameters.
//!
//! Closures may take tuples apart, since iterators hand them over.

use super::source::File;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{FnArg, Pat, PatType};

pub(crate) fn breaches(file: &File) -> Vec<String> {
    let mut params = Params { file, found: Vec::new() };
    params.visit_file(&file.parsed());
    params.found
}

struct Params<'f> {
    file: &'f File,
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Params<'_> {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        for param in &signature.inputs {
            let FnArg::Typed(PatType { pat, .. }) = param else { continue };
            if matches!(**pat, Pat::Tuple(_)) {
                let what = format!("`{}` takes a tuple apart", signature.ident);
                self.found.push(self.file.breach(pat.span().start().line, &what));
            }
        }
        visit::visit_signature(self, signature);
    }
}
