//! Dense numbers: places in vectors, as ids of 32 bits.

/// A place as an id.
pub(crate) fn dense(place: usize) -> u32 {
    u32::try_from(place).unwrap_or_else(|_too_many| unreachable!("4 billion of anything outlast memory"))
}

/// A number that stands for something of a driver's or a book's.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u32);

        impl $name {
            /// The one of that number.
            #[must_use]
            pub const fn new(number: u32) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn number(self) -> u32 {
                self.0
            }
        }
    };
}
pub(crate) use id;

/// `items` by their keys, which are below `end`; those of one key keep their order.
pub(crate) fn counting_sort<T: Copy + Default>(items: impl Iterator<Item = T>, keys: &[u32], end: usize) -> Vec<T> {
    let mut starts = vec![0_u32; end + 1];
    keys.iter().for_each(|key| starts[*key as usize + 1] += 1);
    (1..starts.len()).for_each(|key| starts[key] += starts[key - 1]);
    let mut sorted = vec![T::default(); keys.len()];
    for (item, key) in items.zip(keys) {
        let place = &mut starts[*key as usize];
        sorted[*place as usize] = item;
        *place += 1;
    }
    sorted
}
