//! Typed indices: ids of the things kept in lists, and lists that take no other ids.
//!
//! An id is a position in a list, so looking one up costs what an index costs; but the id of a file is not the id
//! of a definition, and the compiler sees to it that neither is taken for the other.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// The position of something in a list of its kind.
pub trait Id: Copy + Eq {
    /// Makes the id of a position, which is less than 2³² - 1.
    fn new(index: usize) -> Self;

    /// The position.
    fn index(self) -> usize;
}

/// Defines types of ids. They are kept as one more than the position, so that an optional id takes four bytes too.
macro_rules! ids {
    ($($(#[$doc:meta])* $seen:vis $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $seen struct $name(std::num::NonZeroU32);

        impl $crate::index::Id for $name {
            #[inline]
            fn new(index: usize) -> Self {
                debug_assert!(index < u32::MAX as usize);
                // What is counted takes a byte of a file or of memory at least, and files are bounded.
                #[allow(clippy::cast_possible_truncation)]
                let index = index as u32;
                $name(std::num::NonZeroU32::MIN.saturating_add(index))
            }

            #[inline]
            fn index(self) -> usize {
                self.0.get() as usize - 1
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), $crate::index::Id::index(*self))
            }
        }
    )+};
}
pub(crate) use ids;

/// A list whose positions are ids of one type.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IndexVec<I, T> {
    list: Vec<T>,
    ids: PhantomData<fn(I) -> I>,
}

impl<I: Id, T> IndexVec<I, T> {
    /// Makes an empty list.
    pub const fn new() -> Self {
        IndexVec {
            list: Vec::new(),
            ids: PhantomData,
        }
    }

    /// Makes an empty list with room for a number of things.
    pub fn with_capacity(capacity: usize) -> Self {
        IndexVec {
            list: Vec::with_capacity(capacity),
            ids: PhantomData,
        }
    }

    /// Adds something at the end and returns its id.
    #[inline]
    pub fn push(&mut self, value: T) -> I {
        let id = self.next_id();
        self.list.push(value);
        id
    }

    /// The id that the next thing will have.
    #[inline]
    pub fn next_id(&self) -> I {
        I::new(self.list.len())
    }

    /// The number of things.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The thing of an id, unless that is of another, longer list.
    #[inline]
    pub fn get(&self, id: I) -> Option<&T> {
        self.list.get(id.index())
    }

    /// The things in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.list.iter()
    }

    /// All ids in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + ExactSizeIterator + use<I, T> {
        (0..self.list.len()).map(I::new)
    }

    /// The things in order, each with its id.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + ExactSizeIterator {
        let pair = |(index, value)| (I::new(index), value);
        self.list.iter().enumerate().map(pair)
    }

    /// The things in order, as a slice.
    pub fn as_slice(&self) -> &[T] {
        &self.list
    }

    /// Makes room for more things.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.list.reserve(more);
    }

    /// Gives room back that is not used.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.list.shrink_to_fit();
    }

    /// Makes the list longer, with the same value at each of the new places.
    pub(crate) fn grow_to(&mut self, len: usize, value: T)
    where
        T: Clone,
    {
        if len > self.list.len() {
            self.list.resize(len, value);
        }
    }
}

impl<I: Id, T> Default for IndexVec<I, T> {
    fn default() -> Self {
        IndexVec::new()
    }
}

impl<I: Id, T> Index<I> for IndexVec<I, T> {
    type Output = T;

    #[inline]
    fn index(&self, id: I) -> &T {
        &self.list[id.index()]
    }
}

impl<I: Id, T> IndexMut<I> for IndexVec<I, T> {
    #[inline]
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.list[id.index()]
    }
}

impl<'a, I, T> IntoIterator for &'a IndexVec<I, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl<I, T: fmt::Debug> fmt::Debug for IndexVec<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.list).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    ids! {
        /// A letter.
        LetterId;
    }

    #[test]
    fn ids_are_positions() {
        let mut letters: IndexVec<LetterId, char> = IndexVec::with_capacity(2);
        assert!(letters.is_empty());
        let next = letters.next_id();
        let (a, b) = (letters.push('a'), letters.push('b'));
        assert_eq!((a, a.index(), b.index()), (next, 0, 1));
        assert_eq!((letters[a], letters.get(b)), ('a', Some(&'b')));
        assert_eq!(letters.get(letters.next_id()), None);
        letters[a] = 'c';
        let entries: Vec<(LetterId, &char)> = letters.entries().collect();
        assert_eq!(entries, [(a, &'c'), (b, &'b')]);
        assert_eq!(letters.ids().collect::<Vec<_>>(), [a, b]);
        letters.grow_to(1, 'x');
        letters.grow_to(3, 'x');
        assert_eq!(letters.as_slice(), ['c', 'b', 'x']);
        assert_eq!(format!("{a:?} {letters:?}"), "LetterId(0) ['c', 'b', 'x']");
        assert_eq!(size_of::<Option<LetterId>>(), 4);
        let last = LetterId::new(u32::MAX as usize - 1);
        assert_eq!(last.index(), u32::MAX as usize - 1);
    }
}
