//! Where a piece of code stands in a source, whatever white space is between its words.

use std::ops::Range;

/// All places, from the first to the last character of the piece that is no white space.
pub(crate) fn places(source: &str, piece: &str) -> Vec<Range<usize>> {
    let black =
        |text: &str| text.char_indices().filter(|(_, char)| !char.is_whitespace()).collect::<Vec<_>>();
    let (source, piece) = (black(source), black(piece));
    if piece.is_empty() {
        return Vec::new();
    }
    let is_here =
        |window: &&[(usize, char)]| window.iter().zip(&piece).all(|((_, here), (_, there))| here == there);
    let range = |window: &[(usize, char)]| {
        let (last, char) = window[window.len() - 1];
        window[0].0..last + char.len_utf8()
    };
    source.windows(piece.len()).filter(is_here).map(range).collect()
}

#[test]
fn white_space_does_not_matter() {
    let source = "fn a() {\n    b(c,\n        d);\n}\nfn e() { b(c, d) }";
    assert_eq!(
        places(source, "b(c, d);").into_iter().map(|place| &source[place]).collect::<Vec<_>>(),
        ["b(c,\n        d);"]
    );
    assert_eq!(places(source, "  b(c,\nd)\n").len(), 2);
    assert_eq!(places(source, "b(d)"), []);
    assert_eq!(places(source, " "), []);
}
