//! From a hash to a position: the open-addressed index under the host and path tables.
//!
//! In comes a 64-bit hash and the position of an item in a list that the owner keeps; out goes the position again,
//! once the owner has said that the item is the one. It knows neither keys nor items. A lookup that hits costs one
//! cache line here, one that misses mostly one too: that is why it stands here instead of a general hash map, whose
//! control bytes and buckets lie apart.

/// Slots of eight bytes, at most half of them taken, probed in a line: fuller is smaller, but measurably slower.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
    taken: usize,
}

/// The upper half of a hash, and a position plus one; zero is free.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    tag: u32,
    position: u32,
}

impl Slots {
    /// Room for `items` without growing.
    pub(super) fn with_room(items: usize) -> Self {
        let size = if items == 0 { 0 } else { items * 2 + 1 };
        Slots { slots: vec![Slot::default(); size].into_boxed_slice(), taken: 0 }
    }

    /// The position that was stored under `hash` and that `is_it` confirms.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.start(hash);
        // Some slots are free, so this ends; without slots the first look ends it.
        loop {
            let slot = self.slots.get(at)?;
            let position = slot.position.checked_sub(1)?;
            if slot.tag == tag(hash) && is_it(position) {
                return Some(position);
            }
            at = self.after(at);
        }
    }

    /// Stores `position` under `hash`; whether an equal item is there already is for the caller to ask before.
    /// `rehash` tells the hash of a stored position again.
    pub(super) fn insert(&mut self, hash: u64, position: u32, rehash: impl Fn(u32) -> u64) {
        if (self.taken + 1) * 2 > self.slots.len() {
            let old = std::mem::replace(self, Slots::with_room((self.taken + 1) * 2));
            for position in old.slots.iter().filter_map(|slot| slot.position.checked_sub(1)) {
                self.place(rehash(position), position);
            }
        }
        self.place(hash, position);
    }

    fn place(&mut self, hash: u64, position: u32) {
        let mut at = self.start(hash);
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.position == 0 {
                *slot = Slot { tag: tag(hash), position: position.saturating_add(1) };
                self.taken += 1;
                return;
            }
            at = self.after(at);
        }
    }

    /// Where probing begins: the lower half of the hash, scaled to the number of slots, which need be no power of two.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "any half of a hash is a hash, and the product is below the length"
    )]
    fn start(&self, hash: u64) -> usize {
        ((u64::from(hash as u32) * self.slots.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 < self.slots.len() { at + 1 } else { 0 }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the upper half is what is left after the shift")]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_found_again_while_the_table_grows_and_hashes_collide() {
        let hash = |position: u32| u64::from(position % 7) << 32 | u64::from(position % 11);
        let mut slots = Slots::default();
        for position in 0..500 {
            assert_eq!(slots.find(hash(position), |p| p == position), None);
            slots.insert(hash(position), position, hash);
        }
        for position in 0..500 {
            assert_eq!(slots.find(hash(position), |p| p == position), Some(position));
        }
        assert_eq!(slots.find(hash(3), |_| false), None);
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        assert_eq!(Slots::default().find(42, |_| true), None);
        assert_eq!(Slots::with_room(0).find(42, |_| true), None);
    }
}
