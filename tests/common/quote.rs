//! Where a piece of code stands in a source, whatever white space is between its words.

use std::ops::Range;

/// A source in which pieces are looked for.
pub(crate) struct Source {
    /// Its characters but for white space.
    black: String,
    /// Where each byte of these stands in the source.
    places: Vec<usize>,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let (mut black, mut places) = (String::new(), Vec::new());
        for (place, char) in text.char_indices().filter(|(_, char)| !char.is_whitespace()) {
            black.push(char);
            places.extend(place..place + char.len_utf8());
        }
        Self { black, places }
    }

    /// All places, from the first to the last character of the piece that is no white space.
    pub(crate) fn places(&self, piece: &str) -> Vec<Range<usize>> {
        let piece: String = piece.split_whitespace().collect();
        let (mut found, mut from) = (Vec::new(), 0);
        let Some(first) = piece.chars().next() else { return found };
        while let Some(at) = self.black[from..].find(&piece) {
            let start = from + at;
            found.push(self.places[start]..self.places[start + piece.len() - 1] + 1);
            from = start + first.len_utf8();
        }
        found
    }
}

#[test]
fn white_space_does_not_matter() {
    let text = "fn a() {\n    b(c,\n        d);\n}\nfn e() { b(c, d) }\n// ä ää";
    let source = Source::new(text);
    let found = |piece| source.places(piece).into_iter().map(|place| &text[place]).collect::<Vec<_>>();
    assert_eq!(found("b(c, d);"), ["b(c,\n        d);"]);
    assert_eq!(found("  b(c,\nd)\n").len(), 2);
    assert_eq!(found("ää"), ["ä ä", "ää"]);
    assert_eq!(found("b(d)"), [""; 0]);
    assert_eq!(found(" "), [""; 0]);
}
