//! Where in a block of a head the bytes stand at which something ends: colons and control bytes.

/// Bytes looked at together.
pub(crate) const BLOCK: usize = 64;

/// One bit per byte of a block, the first byte's the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) colons: u64,
    /// Control bytes and DEL; not the tab, which may stand in a value.
    pub(crate) controls: u64,
}

impl Marks {
    /// The marks of the first block of `bytes`; what lies behind the end has none.
    #[inline(always)]
    pub(crate) fn of(bytes: &[u8]) -> Marks {
        match bytes.first_chunk() {
            Some(block) => Marks::of_block(block),
            None => {
                let mut block = [b' '; BLOCK];
                block[..bytes.len()].copy_from_slice(bytes);
                Marks::of_block(&block)
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn of_block(block: &[u8; BLOCK]) -> Marks {
        use core::arch::x86_64::{
            __m128i, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
            _mm_set1_epi8,
        };
        let mut marks = Marks::default();
        for (i, sixteen) in block.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: every x86-64 processor has SSE2, and exactly the sixteen bytes of the chunk are read.
            let (colons, controls) = unsafe {
                let x = _mm_loadu_si128(std::ptr::from_ref(sixteen).cast::<__m128i>());
                let low = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
                let low = _mm_andnot_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8(b'\t' as i8)), low);
                let controls = _mm_or_si128(low, _mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f)));
                (_mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_set1_epi8(b':' as i8))), _mm_movemask_epi8(controls))
            };
            marks.colons |= u64::from(colons as u32) << (16 * i);
            marks.controls |= u64::from(controls as u32) << (16 * i);
        }
        marks
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of_block(block: &[u8; BLOCK]) -> Marks {
        Marks::one_by_one(block)
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn one_by_one(block: &[u8; BLOCK]) -> Marks {
        let mut marks = Marks::default();
        for (i, b) in block.iter().enumerate() {
            marks.colons |= u64::from(*b == b':') << i;
            marks.controls |= u64::from((*b < 0x20 && *b != b'\t') || *b == 0x7f) << i;
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_marked_as_their_bytes_are() {
        for shift in 0..4 {
            let block: [u8; BLOCK] = std::array::from_fn(|i| (i + 64 * shift) as u8);
            assert_eq!(Marks::of(&block), Marks::one_by_one(&block));
            assert_eq!(Marks::of(&block[..40]).controls, Marks::one_by_one(&block).controls & ((1 << 40) - 1));
        }
    }
}
