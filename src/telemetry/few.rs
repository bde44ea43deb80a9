//! Many lines of one kind for the log: the first ones one by one, the rest as a number.
//!
//! One edit can make 5,000 routes wrong in the same way; nobody reads 5,000 lines, and writing them takes time.

/// Most lines of one kind that one change writes.
pub const MOST_LINES: usize = 20;

/// Tells the first [`MOST_LINES`]; how many were not told.
#[must_use]
pub fn few<T>(all: impl IntoIterator<Item = T>, tell: impl FnMut(T)) -> usize {
    let mut all = all.into_iter();
    all.by_ref().take(MOST_LINES).for_each(tell);
    all.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_are_told_and_the_rest_is_counted() {
        let mut told = Vec::new();
        assert_eq!(few(0..5000, |one| told.push(one)), 4980);
        assert_eq!(told, (0..20).collect::<Vec<_>>());
        assert_eq!(few(0..20, |_| ()), 0);
    }
}
