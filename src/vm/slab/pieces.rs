//! A list that grows without being copied.

/// Entries that are allocated at a time.
const LEN: usize = 1024;

/// A list in pieces: a guest picks how long it is, and one more entry must not cost as much as all.
pub(in crate::vm) struct Pieces<T> {
    /// All full but the last.
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T> Pieces<T> {
    #[inline]
    pub(in crate::vm) fn len(&self) -> usize {
        match self.pieces.last() {
            Some(last) => (self.pieces.len() - 1) * LEN + last.len(),
            None => 0,
        }
    }

    /// The entry at a place.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    #[inline]
    pub(in crate::vm) fn at(&self, place: usize) -> &T {
        &self.pieces[place / LEN][place % LEN]
    }

    /// As [`Self::at`].
    #[inline]
    pub(in crate::vm) fn at_mut(&mut self, place: usize) -> &mut T {
        &mut self.pieces[place / LEN][place % LEN]
    }

    pub(in crate::vm) fn push(&mut self, entry: T) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < LEN => last.push(entry),
            _ => {
                // Most lists stay short.
                let first = self.pieces.is_empty();
                let mut piece = Vec::with_capacity(if first { 0 } else { LEN });
                piece.push(entry);
                self.pieces.push(piece);
            }
        }
    }

    /// Takes the last entry, and gives its piece back if that was the last of it.
    pub(in crate::vm) fn pop(&mut self) -> Option<T> {
        let last = self.pieces.last_mut()?;
        let entry = last.pop();
        if last.is_empty() {
            self.pieces.pop();
        }
        entry
    }

    /// All entries, at once.
    pub(in crate::vm) fn drain(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.pieces).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list() {
        let mut entries = Pieces::default();
        for number in 0..3 * LEN + 5 {
            assert_eq!(entries.len(), number);
            entries.push(number);
        }
        *entries.at_mut(LEN) = 7;
        assert_eq!(
            (*entries.at(LEN - 1), *entries.at(LEN), *entries.at(3 * LEN)),
            (LEN - 1, 7, 3 * LEN)
        );
        for left in (0..3 * LEN + 5).rev() {
            entries.pop();
            assert_eq!(entries.len(), left);
        }
        entries.pop();
        entries.push(9);
        assert_eq!(entries.drain().collect::<Vec<_>>(), [9]);
        assert_eq!(entries.len(), 0);
    }
}
