//! The source as the rules see it: files, their lines, and the tokens of what is no test.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Item};

/// Of a package what the rules are about.
pub(crate) struct Crate {
    pub(crate) files: Vec<File>,
}

pub(crate) struct File {
    /// From the package's root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Of Rust that is no test; of other files none.
    pub(crate) tokens: Vec<Token>,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// From 1.
    pub(crate) line: usize,
    /// How many modules within the file are around it.
    pub(crate) depth: usize,
}

impl Crate {
    /// This one. It is read once for all rules: to parse it takes two seconds, unoptimized.
    pub(crate) fn here() -> &'static Self {
        static HERE: LazyLock<Crate> = LazyLock::new(|| Crate::read(env!("CARGO_MANIFEST_DIR").as_ref()));
        &HERE
    }

    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        for part in ["src", "loom-tests/planted", "loom-tests/tests", "loom-tests/shuttle/tests"] {
            read_folder(root, &root.join(part), &mut files);
        }
        Self { files }
    }

    /// The library's own source: no tests, and nothing that is there for models alone.
    pub(crate) fn library(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs")).filter(
            |file| {
                let is_test = file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
                !is_test && file.path != "src/model.rs"
            },
        )
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn read_folder(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_folder(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "bug") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            files.push(File::new(&name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut tokens = Vec::new();
        if path.ends_with(".rs") {
            flatten(parse(path, text).to_token_stream(), 0, &mut tokens);
        }
        Self { path: path.to_owned(), text: text.to_owned(), tokens }
    }

    /// Its Rust, without tests.
    pub(crate) fn parsed(&self) -> syn::File {
        parse(&self.path, &self.text)
    }

    pub(crate) fn breach(&self, line: usize, what: &str) -> String {
        let code = self.text.lines().nth(line - 1).unwrap_or_default().trim();
        format!("{}:{line}: {what}: {code}", self.path)
    }

    /// The module that it is, as its path from the root: `src/cache/load.rs` is `cache::load`, and `src/table/mod.rs` is `table`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| !["mod", "lib"].contains(part)).collect()
    }

    /// Where the tokens from `at` on are these.
    pub(crate) fn reads(&self, at: usize, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(n, word)| self.tokens.get(at + n).is_some_and(|token| token.text == *word))
    }
}

fn parse(path: &str, text: &str) -> syn::File {
    let mut parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    WithoutTests.visit_file_mut(&mut parsed);
    parsed
}

/// Takes out modules, and single items, that only tests have.
struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !is_test_module(item));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_test_module(item));
        }
        visit_mut::visit_item_mod_mut(self, module);
    }
}

fn is_test_module(item: &Item) -> bool {
    matches!(item, Item::Mod(module) if module.attrs.iter().any(is_for_tests))
}

/// `#[cfg(test)]`, and `#[cfg(all(test, ..))]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    let text = attribute.meta.to_token_stream().to_string().replace(' ', "");
    text.starts_with("cfg(test)") || text.starts_with("cfg(all(test,")
}

fn flatten(stream: TokenStream, depth: usize, tokens: &mut Vec<Token>) {
    let mut glued = false;
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                let is_module = open == "{" && tokens.len() > 1 && tokens[tokens.len() - 2].text == "mod";
                tokens.push(Token { text: open.to_owned(), line, depth });
                flatten(group.stream(), depth + usize::from(is_module), tokens);
                tokens.push(Token { text: close.to_owned(), line: group.span_close().start().line, depth });
                glued = false;
            }
            TokenTree::Punct(punct) => {
                match tokens.last_mut().filter(|_| glued) {
                    Some(last) => last.text.push(punct.as_char()),
                    None => tokens.push(Token { text: punct.as_char().to_string(), line, depth }),
                }
                // `::` is one word.
                glued = punct.as_char() == ':' && punct.spacing() == Spacing::Joint;
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                tokens.push(Token { text: tree.to_string(), line, depth });
                glued = false;
            }
        }
    }
}
