//! The numbers that are taken: bits, in blocks, in chunks.
//!
//! A few vacant numbers are on the *free list*. Their bits are set, as if they were taken. When the
//! list is empty, the lowest vacant numbers are gathered, a word of bits at once. A number that is
//! given back goes on the free list, so that it is taken again while its memory is still in the
//! cache. The exception is a number for which there is a vacant one in an earlier chunk: so high
//! chunks empty.
//!
//! This file knows no rows. The cost is a bit for each number, two bytes for each block of 4,096 (a
//! block without taken numbers has no bits at all), and four bytes for each number on the free
//! list.

use super::ids::{CHUNKS, RowId, chunk_size};
use std::ops::Range;

const WORD: usize = u64::BITS as usize;
/// Words in a block: as many as the summary word has bits.
const WORDS: usize = WORD;
const BLOCK: usize = WORD * WORDS;
/// The least number of words without a taken number that are worth a trim: 256 numbers, but one
/// word under loom, where chunks are smaller than a word.
const WORTH: usize = if cfg!(tidewheel_loom) { 1 } else { 4 };

/// The largest length of the free list. One under loom, so that a number that is given back is
/// vacant.
const FREE_LIST: usize = if cfg!(tidewheel_loom) { 1 } else { 256 };
/// How many vacant numbers are gathered at a time.
const GATHERED: usize = if cfg!(tidewheel_loom) { 1 } else { WORD };

/// Numbers by chunk.
pub(crate) struct Numbers {
    /// Vacant numbers whose bits are set. The last one is taken next.
    free_list: Vec<RowId>,
    chunks: Vec<Chunk>,
    /// No chunk before this one has a vacant number.
    lowest: usize,
    /// Where `trim` continues. Beyond the last chunk if it has been everywhere.
    trimming: (usize, usize),
    taken: usize,
    /// The number of words that are touched and have no taken number: what a trim would find.
    idle: usize,
}

struct Chunk {
    size: usize,
    taken: usize,
    /// Empty while no number has been taken since the chunk was last given back.
    blocks: Vec<Block>,
    /// No block before this one has a vacant number.
    lowest: usize,
    /// Whether some number was taken since the whole chunk was reported as vacant.
    touched: bool,
}

#[derive(Default)]
struct Block {
    taken: u16,
    /// The words of which some number was taken since the last trim.
    touched: u64,
    bits: Option<Box<Bits>>,
}

/// The lowest bit comes first. A set bit is a taken number.
struct Bits {
    words: [u64; WORDS],
    /// The words without a vacant number.
    full: u64,
}

impl Chunk {
    /// Reports the whole chunk as vacant, if nothing is taken and something was. Returns how many
    /// words were idle.
    fn give_back(&mut self, vacant: impl FnOnce(Range<usize>)) -> usize {
        if self.taken != 0 || !self.touched {
            return 0;
        }
        // These words were used and vacated after the trim had passed their stretch.
        let idle = self.blocks.iter().map(|block| block.touched.count_ones() as usize).sum();
        self.touched = false;
        (self.blocks, self.lowest) = (Vec::new(), 0);
        vacant(0..self.size);
        idle
    }

    fn new(size: usize) -> Self {
        Self { size, taken: 0, blocks: Vec::new(), lowest: 0, touched: false }
    }

    #[cold]
    fn add_blocks(&mut self) {
        self.blocks.resize_with(self.size.div_ceil(BLOCK), Block::default);
    }

    /// Returns how many numbers each of the chunk's blocks has.
    fn block_size(&self) -> usize {
        self.size.min(BLOCK)
    }

    /// Takes the lowest vacant numbers, all of one word. Returns the word's first number, the bits
    /// that were taken, and whether the word was idle.
    fn take(&mut self) -> Option<(usize, u64, bool)> {
        if self.taken == self.size {
            return None;
        }
        if self.blocks.is_empty() {
            self.add_blocks();
        }
        let most = self.block_size();
        while usize::from(self.blocks[self.lowest].taken) == most {
            self.lowest += 1;
        }
        let (offset, vacant, was_idle) = self.blocks[self.lowest].take(most);
        self.taken += vacant.count_ones() as usize;
        self.touched = true;
        Some((self.lowest * BLOCK + offset, vacant, was_idle))
    }

    fn is_taken(&self, offset: usize) -> bool {
        let bits = self.blocks.get(offset / BLOCK).and_then(|block| block.bits.as_ref());
        bits.is_some_and(|bits| bits.words[offset % BLOCK / WORD] >> (offset % WORD) & 1 == 1)
    }

    /// Returns how many words without a taken number follow each other from `word` on, at most
    /// `most`.
    fn vacant_words(&self, word: usize, most: usize) -> usize {
        let words = self.size.div_ceil(WORD);
        let vacant = |word: &usize| {
            let bits = self.blocks.get(word / WORDS).and_then(|block| block.bits.as_ref());
            bits.is_none_or(|bits| bits.words[word % WORDS] == 0)
        };
        (word..words.min(word + most)).take_while(vacant).count()
    }
}

impl Block {
    /// Takes numbers like `Chunk::take`, in a block of this many numbers.
    fn take(&mut self, size: usize) -> (usize, u64, bool) {
        let bits = self.bits.get_or_insert_with(|| Box::new(Bits { words: [0; WORDS], full: 0 }));
        let word = bits.full.trailing_ones() as usize;
        let before = bits.words[word];
        let was_idle = before == 0 && self.touched >> word & 1 == 1;
        let mut vacant = !before & (u64::MAX >> (WORD - size.min(WORD)));
        while vacant.count_ones() as usize > GATHERED {
            vacant &= !(1 << vacant.ilog2());
        }
        bits.words[word] |= vacant;
        if bits.words[word] == u64::MAX {
            bits.full |= 1 << word;
        }
        self.touched |= 1 << word;
        self.taken += vacant.count_ones() as u16;
        (word * WORD, vacant, was_idle)
    }

    /// Vacates a number. Returns whether its word is idle now.
    #[inline]
    fn give(&mut self, offset: usize) -> bool {
        let (word, bit) = (offset / WORD, offset % WORD);
        let bits = self.bits.as_mut().expect("a number that was taken has its bit");
        assert!(bits.words[word] >> bit & 1 == 1, "a number was given back twice");
        bits.words[word] &= !(1 << bit);
        bits.full &= !(1 << word);
        self.taken -= 1;
        bits.words[word] == 0
    }
}

impl Numbers {
    pub(crate) fn new() -> Self {
        Self {
            free_list: Vec::new(),
            chunks: Vec::new(),
            lowest: 0,
            trimming: (CHUNKS, 0),
            taken: 0,
            idle: 0,
        }
    }

    /// Takes a number from the free list, if there is one.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<RowId> {
        self.free_list.pop()
    }

    /// Takes all numbers that are left, without the memory for their bits. None of them may be given
    /// back.
    #[cfg(all(test, not(tidewheel_loom)))]
    pub(crate) fn exhaust(&mut self) {
        self.free_list.clear();
        self.chunks.extend((self.chunks.len()..CHUNKS).map(|chunk| Chunk::new(chunk_size(chunk))));
        self.chunks.iter_mut().for_each(|chunk| chunk.taken = chunk.size);
    }

    /// Returns the number that is taken next, if there is one on the free list.
    #[inline]
    pub(crate) fn next(&self) -> Option<RowId> {
        self.free_list.last().copied()
    }

    /// Gathers the lowest vacant numbers on the free list, which must be empty. Returns them: none
    /// if all numbers are taken.
    #[cold]
    pub(crate) fn gather(&mut self) -> &[RowId] {
        debug_assert!(self.free_list.is_empty(), "there are some on the free list");
        loop {
            let Some(chunk) = self.chunks.get_mut(self.lowest) else {
                if self.chunks.len() == CHUNKS {
                    return &[];
                }
                self.chunks.push(Chunk::new(chunk_size(self.chunks.len())));
                continue;
            };
            if let Some((offset, mut vacant, was_idle)) = chunk.take() {
                self.idle -= usize::from(was_idle);
                self.taken += vacant.count_ones() as usize;
                let first = RowId::new(self.lowest, offset).index();
                if vacant == u64::MAX {
                    // A whole word, as in a table that grows.
                    self.free_list.extend((first..first + u64::BITS).rev().map(RowId::from_index));
                    return &self.free_list;
                }
                while vacant != 0 {
                    let highest = vacant.ilog2();
                    self.free_list.push(RowId::from_index(first + highest));
                    vacant &= !(1 << highest);
                }
                return &self.free_list;
            }
            self.lowest += 1;
        }
    }

    #[inline]
    pub(crate) fn give(&mut self, id: RowId) {
        if id.chunk() <= self.lowest && self.free_list.len() < FREE_LIST {
            self.free_list.push(id);
        } else {
            self.clear(id);
        }
    }

    /// Makes a number vacant in the bits, too.
    fn clear(&mut self, id: RowId) {
        let chunk = &mut self.chunks[id.chunk()];
        let block = id.offset() / BLOCK;
        self.idle += usize::from(chunk.blocks[block].give(id.offset() % BLOCK));
        self.taken -= 1;
        chunk.taken -= 1;
        chunk.lowest = chunk.lowest.min(block);
        self.lowest = self.lowest.min(id.chunk());
    }

    /// Returns whether a number is taken, or on the free list.
    pub(crate) fn is_taken(&self, id: RowId) -> bool {
        self.chunks.get(id.chunk()).is_some_and(|chunk| chunk.is_taken(id.offset()))
    }

    /// Returns the lowest number from `from` on that is taken, or on the free list.
    pub(crate) fn next_taken(&self, from: RowId) -> Option<RowId> {
        let mut offset = from.offset();
        for (index, chunk) in self.chunks.iter().enumerate().skip(from.chunk()) {
            while offset < chunk.size {
                let Some(bits) = chunk.blocks.get(offset / BLOCK).and_then(|block| block.bits.as_ref())
                else {
                    offset = (offset / BLOCK + 1) * BLOCK;
                    continue;
                };
                let rest = bits.words[offset % BLOCK / WORD] >> (offset % WORD);
                if rest != 0 {
                    return Some(RowId::new(index, offset + rest.trailing_zeros() as usize));
                }
                offset = (offset / WORD + 1) * WORD;
            }
            offset = 0;
        }
        None
    }

    /// Returns whether a trim would find much: at least 256 numbers, and half as many as are taken.
    pub(crate) fn is_sparse(&self) -> bool {
        self.idle >= WORTH && self.idle * WORD > self.taken / 2
    }

    /// Calls `vacant` for stretches that were touched and are vacant now, with the chunk and the
    /// places, in whole words; and finally for a whole chunk, if all of it is vacant. Inspects
    /// about `most` numbers. A stretch ends at a number that is taken, or at a multiple of `most`
    /// (rounded up to blocks, by a power of two). So all of a stretch's memory can be given back: that
    /// of 4,096 numbers, one block, is a multiple of a page of 4 KiB for any data, and that of
    /// 16,384 one of 64 KiB. Returns false when all numbers have been inspected. The next call
    /// begins anew.
    pub(crate) fn trim(&mut self, most: usize, mut vacant: impl FnMut(usize, Range<usize>)) -> bool {
        while let Some(id) = self.free_list.pop() {
            self.clear(id);
        }
        let unit = WORDS * most.div_ceil(BLOCK).next_power_of_two();
        let mut left = unit;
        let (mut at, mut word) = self.trimming;
        if at >= self.chunks.len() {
            (at, word) = (0, 0);
        }
        while let Some(chunk) = self.chunks.get_mut(at) {
            let words = chunk.size.div_ceil(WORD);
            while word < words {
                if left == 0 && word % unit == 0 {
                    self.trimming = (at, word);
                    return true;
                }
                let stretch = chunk.vacant_words(word, unit - word % unit);
                let mut touched = false;
                for vacated in word..word + stretch {
                    let Some(block) = chunk.blocks.get_mut(vacated / WORDS) else { break };
                    let is_idle = block.touched >> (vacated % WORDS) & 1 == 1;
                    touched |= is_idle;
                    self.idle -= usize::from(is_idle);
                    block.touched &= !(1 << (vacated % WORDS));
                    if block.taken == 0 {
                        block.bits = None;
                    }
                }
                if touched {
                    vacant(at, word * WORD..((word + stretch) * WORD).min(chunk.size));
                }
                word += stretch.max(1);
                left = left.saturating_sub(stretch.max(1));
            }
            // The stretches were given back before, so that this last step has little to give back
            // at once.
            self.idle -= chunk.give_back(|all| vacant(at, all));
            (at, word) = (at + 1, 0);
        }
        self.trimming = (CHUNKS, 0);
        let used = self.chunks.iter().rposition(|chunk| chunk.taken > 0).map_or(0, |last| last + 1);
        // The last number of a chunk may have been vacated after the chunk was passed.
        for (at, chunk) in self.chunks.iter_mut().enumerate().skip(used.max(1)) {
            self.idle -= chunk.give_back(|all| vacant(at, all));
        }
        self.chunks.truncate(used.max(1));
        false
    }

    /// Recounts the bits.
    ///
    /// # Panics
    ///
    /// Panics where two counts disagree, or a hint passes a vacant number.
    pub(crate) fn check(&self) {
        let (mut all, mut idle) = (0, 0);
        for (index, chunk) in self.chunks.iter().enumerate() {
            let most = chunk.block_size();
            let mut taken = 0;
            for (at, block) in chunk.blocks.iter().enumerate() {
                let ones = block.bits.as_ref().map_or(0, |bits| {
                    for (word, &bits_of) in bits.words.iter().enumerate() {
                        assert_eq!(bits.full >> word & 1 == 1, bits_of == u64::MAX, "words that are full");
                        assert!(bits_of == 0 || block.touched >> word & 1 == 1, "taken and not touched");
                    }
                    bits.words.iter().map(|word| word.count_ones() as usize).sum()
                });
                idle += (0..WORDS)
                    .filter(|word| block.touched >> word & 1 == 1)
                    .filter(|&word| block.bits.as_ref().is_none_or(|bits| bits.words[word] == 0))
                    .count();
                assert_eq!(ones, usize::from(block.taken), "taken numbers of a block");
                assert!(at >= chunk.lowest || ones == most, "a vacant number before the lowest block");
                taken += ones;
            }
            assert_eq!(taken, chunk.taken, "taken numbers of a chunk");
            assert!(index >= self.lowest || taken == chunk.size, "a vacant number before the lowest chunk");
            all += taken;
        }
        assert_eq!((all, idle), (self.taken, self.idle), "taken numbers, and words that are idle");
        assert!(
            self.free_list.iter().all(|&id| self.is_taken(id)),
            "a number on the free list without its bit"
        );
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    fn take(numbers: &mut Numbers) -> RowId {
        if numbers.next().is_none() {
            numbers.gather();
        }
        let next = numbers.next();
        let id = numbers.take().expect("some were gathered");
        assert_eq!(next, Some(id));
        id
    }

    /// The first numbers, so many, all of them taken.
    fn taken(count: usize) -> (Numbers, Vec<RowId>) {
        let mut numbers = Numbers::new();
        let all = (0..count).map(|_| take(&mut numbers)).collect();
        (numbers, all)
    }

    /// Between two visits of the trim, the last number of a chunk may be vacated that the trim has passed, or has passed by
    /// half.
    #[test]
    fn a_chunk_that_empties_behind_the_trim_is_counted_right() {
        for (chunk, passed) in [(3, 4), (7, 7)] {
            let (mut numbers, all) = taken((0..8).map(chunk_size).sum());
            let last = *all.iter().find(|id| id.chunk() == chunk).expect("there is such a chunk");
            all.iter().filter(|id| id.chunk() >= 3 && **id != last).for_each(|id| numbers.clear(*id));
            let (mut told, mut is_emptied) = (Vec::new(), false);
            while numbers.trim(4096, |chunk, range| told.push((chunk, range))) {
                let (at, word) = numbers.trimming;
                if !is_emptied && at >= passed && (at > chunk || word > 0) {
                    numbers.clear(last);
                    is_emptied = true;
                }
                numbers.check();
            }
            assert!(is_emptied, "the trim ended before it");
            assert_eq!(numbers.chunks.len(), 3, "chunks at the end of which nothing is left");
            numbers.check();
            while numbers.is_sparse() && numbers.trim(4096, |chunk, range| told.push((chunk, range))) {}
            numbers.check();
            assert!(told.contains(&(5, 0..2048)));
        }
    }

    /// Numbers are taken and given back in waves, so that words, blocks and chunks empty and are taken again, while a trim
    /// goes over them in steps now and then.
    #[test]
    fn numbers_that_are_taken_agree_with_a_set() {
        let (mut numbers, mut taken) = (Numbers::new(), std::collections::BTreeSet::new());
        let mut random = 0x9E37_79B9_7F4A_7C15u64;
        let mut turns = Vec::new();
        for step in 0..6_000_u64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let grows = (step / 600) % 2 == 0;
            let count = 1 + (random >> 8) as usize % 40;
            if (random % 8 != 0) == grows {
                for _ in 0..count {
                    let id = take(&mut numbers);
                    assert!(taken.insert(id.dense()) && numbers.is_taken(id), "{id:?} is taken twice");
                }
            } else {
                // What lies together goes together.
                let from = (random >> 32) as usize % taken.last().map_or(1, |last| last + 1);
                let those: Vec<usize> = taken.range(from..).copied().take(count).collect();
                for number in those {
                    taken.remove(&number);
                    numbers.give(at(number));
                }
            }
            if step % 5 == 0 && (step / 300) % 4 == 1 {
                numbers.trim(4096, |chunk, range| {
                    let first = RowId::at(chunk, range.start).dense();
                    assert!(taken.range(first..first + range.len()).next().is_none(), "one of them is taken");
                });
            }
            numbers.check();
            if step % 600 == 599 {
                turns.push(taken.len());
            }
        }
        let is_wave = |pair: &[usize]| pair[0] > 5_000 && pair[1] < 3_000;
        assert!(turns.chunks(2).all(is_wave), "it does not grow and fall: {turns:?}");
        // The rest of a round, and a whole one.
        while numbers.trim(4096, |_, _| {}) {}
        while numbers.trim(4096, |_, _| {}) {}
        while numbers.trim(4096, |_, _| panic!("given back twice")) {}
        assert_eq!(numbers.idle, 0);
        let mut found = Vec::new();
        let mut next = numbers.next_taken(RowId::FIRST);
        while let Some(id) = next {
            found.push(id.dense());
            next = numbers.next_taken(id.next());
        }
        assert!(found.iter().eq(&taken));
    }

    /// The row with this number, counted from the first row on.
    fn at(dense: usize) -> RowId {
        let chunk = (0..CHUNKS).find(|&chunk| dense < RowId::at(chunk, 0).dense() + chunk_size(chunk));
        let chunk = chunk.expect("there are not so many rows");
        RowId::at(chunk, dense - RowId::at(chunk, 0).dense())
    }

    /// Of 8 words, a third would be fewer than 256 numbers; of 99 words, 33 are a half of those that stay.
    #[test]
    fn a_trim_is_worth_while_for_256_numbers_and_half_as_many_as_are_taken() {
        for (words, worth) in [(8, 4), (99, 34)] {
            let (mut numbers, all) = taken(words * WORD);
            for (cleared, word) in all.chunks(WORD).enumerate() {
                assert_eq!(numbers.is_sparse(), cleared >= worth, "{cleared} of {words} words are vacant");
                word.iter().for_each(|&id| numbers.clear(id));
                numbers.check();
            }
            while numbers.trim(4096, |_, _| {}) {}
            assert!(!numbers.is_sparse());
            numbers.check();
        }
    }

    /// Some kernels for AArch64 and POWER have pages of 64 KiB. Of what is vacant in one piece, no
    /// page may stay because it was told of in two.
    #[test]
    fn what_is_vacant_in_one_piece_is_told_of_in_whole_pages_of_any_system() {
        const MOST: usize = 16_384;
        const ALL: usize = 1 << 17;
        assert!(size_of::<crate::rows::Queued>() * MOST % (64 << 10) == 0);
        assert!(size_of::<crate::rows::Metadata>() * MOST % (64 << 10) == 0);
        let (mut numbers, all) = taken(ALL);
        // The last number of a chunk stays, so that the chunk does.
        let stays = |id: &RowId| id.offset() + 1 == chunk_size(id.chunk());
        all.iter().filter(|id| !stays(id)).for_each(|&id| numbers.clear(id));
        let mut told = Vec::new();
        let mut calls = 1;
        while numbers.trim(MOST, |chunk, range| told.push((chunk, range))) {
            calls += 1;
        }
        assert!(calls >= ALL / 2 / MOST, "{calls} calls");
        numbers.check();
        let is_whole = |(chunk, range): &(usize, Range<usize>)| {
            range.start % MOST == 0 && (range.end % MOST == 0 || range.end + WORD == chunk_size(*chunk))
        };
        assert!(told.iter().all(is_whole), "{told:?}");
        assert!(told.iter().filter(|(_, range)| range.len() == MOST).count() >= 3, "{told:?}");
    }
}
