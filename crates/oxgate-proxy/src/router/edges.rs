//! The edges of a table's tree: from a node, by a segment, to a node. One open-addressed table for
//! the whole tree, so that a step is one hash and one compare however many routes there are.

#[derive(Debug, Default)]
pub(super) struct Edges {
    /// Index into `edges` plus one; 0 is free. The length is a power of two.
    slots: Vec<u32>,
    edges: Vec<Edge>,
    text: Vec<u8>,
}

#[derive(Debug)]
struct Edge {
    from: u32,
    to: u32,
    start: u32,
    len: u32,
}

impl Edges {
    #[inline]
    pub(super) fn get(&self, from: usize, segment: &[u8]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash(from, segment) & mask;
        loop {
            let edge = match self.slots[at] {
                0 => return None,
                n => &self.edges[n as usize - 1],
            };
            if edge.from as usize == from && self.text[edge.start as usize..][..edge.len as usize] == *segment {
                return Some(edge.to as usize);
            }
            at = (at + 1) & mask;
        }
    }

    pub(super) fn insert(&mut self, from: usize, segment: &[u8], to: usize) {
        let (start, len) = (self.text.len() as u32, segment.len() as u32);
        self.text.extend_from_slice(segment);
        self.edges.push(Edge { from: from as u32, to: to as u32, start, len });
        if self.edges.len() * 2 > self.slots.len() {
            self.slots = vec![0; (self.slots.len() * 2).max(16)];
            for i in 0..self.edges.len() {
                self.place(i);
            }
        } else {
            self.place(self.edges.len() - 1);
        }
    }

    fn place(&mut self, index: usize) {
        let edge = &self.edges[index];
        let mask = self.slots.len() - 1;
        let segment = &self.text[edge.start as usize..][..edge.len as usize];
        let mut at = hash(edge.from as usize, segment) & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = index as u32 + 1;
    }
}

/// Multiply and rotate over words. The keys come from configuration, so nobody can choose them to
/// collide; requests only look up.
fn hash(from: usize, segment: &[u8]) -> usize {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut h = (from as u64 ^ (segment.len() as u64) << 32).wrapping_mul(K);
    let (words, tail) = segment.as_chunks::<8>();
    for word in words {
        h = (h.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(K);
    }
    let mut last = 0u64;
    for b in tail {
        last = last << 8 | u64::from(*b);
    }
    h = (h.rotate_left(23) ^ last).wrapping_mul(K);
    (h ^ h >> 32) as usize
}
