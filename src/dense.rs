//! Dense maps: vectors indexed by an id of their own type.
//!
//! Nodes of a plan and jobs of a run are both numbered from 0, and a number of one means nothing to the
//! other. With an id type for each and a map that takes no other, they cannot be mixed up.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// Numbers things from 0, without gaps.
pub trait Id: Copy + Ord + fmt::Debug {
    /// The id of the thing at `index`.
    fn at(index: usize) -> Self;
    /// Where the thing is.
    fn index(self) -> usize;
}

/// Makes an id type: `dense::id! { /// Its documentation. pub struct NodeId }`.
macro_rules! id {
    ($(#[$doc:meta])* pub struct $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(usize);

        impl $crate::dense::Id for $name {
            fn at(index: usize) -> Self {
                $name(index)
            }
            fn index(self) -> usize {
                self.0
            }
        }
    };
}
pub(crate) use id;

/// A vector whose elements are reached by ids of the type `K`.
pub struct DenseMap<K, V> {
    values: Vec<V>,
    key: PhantomData<fn(K) -> K>,
}

impl<K: Id, V> DenseMap<K, V> {
    /// A map without elements.
    pub fn new() -> Self {
        Self::default()
    }

    /// A map with one value for each id that `other` has.
    pub fn like<W>(other: &DenseMap<K, W>, value: V) -> Self
    where
        V: Clone,
    {
        vec![value; other.len()].into()
    }

    /// Adds an element and gives its id.
    pub fn push(&mut self, value: V) -> K {
        let id = self.next_id();
        self.values.push(value);
        id
    }

    /// The id of the element that is added next.
    pub fn next_id(&self) -> K {
        K::at(self.values.len())
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The element of `id`, if the map has one.
    pub fn get(&self, id: K) -> Option<&V> {
        self.values.get(id.index())
    }

    /// The ids, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = K> + ExactSizeIterator + use<K, V> {
        (0..self.values.len()).map(K::at)
    }

    /// The elements, in the order of their ids.
    pub fn values(&self) -> std::slice::Iter<'_, V> {
        self.values.iter()
    }

    /// Each id with its element, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> + ExactSizeIterator {
        self.values.iter().enumerate().map(|(i, v)| (K::at(i), v))
    }
}

impl<K, V> Default for DenseMap<K, V> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<K, V> From<Vec<V>> for DenseMap<K, V> {
    fn from(values: Vec<V>) -> Self {
        DenseMap {
            values,
            key: PhantomData,
        }
    }
}

impl<K, V> FromIterator<V> for DenseMap<K, V> {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        Vec::from_iter(values).into()
    }
}

impl<K: Id, V> Index<K> for DenseMap<K, V> {
    type Output = V;

    fn index(&self, id: K) -> &V {
        &self.values[id.index()]
    }
}

impl<K: Id, V> IndexMut<K> for DenseMap<K, V> {
    fn index_mut(&mut self, id: K) -> &mut V {
        &mut self.values[id.index()]
    }
}

// Written out, because a derive would ask the same of `K`.
impl<K, V: Clone> Clone for DenseMap<K, V> {
    fn clone(&self) -> Self {
        self.values.clone().into()
    }
}

impl<K, V: PartialEq> PartialEq for DenseMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl<K, V: Eq> Eq for DenseMap<K, V> {}

impl<K, V: fmt::Debug> fmt::Debug for DenseMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{DenseMap, Id};

    id! {
        /// An id for tests.
        pub struct TestId
    }

    #[test]
    fn ids_come_in_order_and_lead_back_to_what_was_added() {
        let mut map: DenseMap<TestId, &str> = DenseMap::new();
        assert!(map.is_empty());
        let (a, b) = (map.push("a"), map.push("b"));
        assert!(a < b);
        assert_eq!((map[a], map[b]), ("a", "b"));
        assert_eq!(map.get(map.next_id()), None);
        assert_eq!(map.ids().collect::<Vec<_>>(), [a, b]);
        assert_eq!(map.iter().next_back(), Some((b, &"b")));
        map[a] = "c";
        assert_eq!(map.values().copied().collect::<Vec<_>>(), ["c", "b"]);
        let marks: DenseMap<TestId, bool> = DenseMap::like(&map, false);
        assert_eq!((marks.len(), TestId::at(1).index()), (2, 1));
    }
}
