// SPDX-License-Identifier: GPL-3.0-or-later
//! `layout!`: one declaration gives the structure, its encoder, decoder, size and field names.
//!
//! ```text
//! layout! {
//!     /// What it is.
//!     pub struct Name<'a>, size 24 {      // `size` for fixed layouts: checked at compile time
//!         /// Field.
//!         rsn: u64,
//!         /// Field with declared padding behind it: written zero, ignored when read.
//!         flags: u32 => pad 4,
//!     }
//!     parts { key, data }                 // a length word each, then the bytes of each
//!     trailing { record_flags }           // an unaligned u32 that no length covers
//! }
//! ```

macro_rules! layout {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(<$lt:lifetime>)? $(, size $size:literal)? {
            $($(#[$fmeta:meta])* $field:ident : $ty:ty $(=> pad $pad:literal)?,)*
        }
        $(parts { $($(#[$pmeta:meta])* $part:ident),* $(,)? })?
        $(trailing { $(#[$tmeta:meta])* $tail:ident })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name $(<$lt>)? {
            $($(#[$fmeta])* pub $field: $ty,)*
            $($($(#[$pmeta])* pub $part: &'a [u8],)*)?
            $($(#[$tmeta])* pub $tail: Option<u32>,)?
        }

        impl $(<$lt>)? $crate::codec::Encode for $name $(<$lt>)? {
            fn size(&self) -> usize {
                0 $(+ $crate::codec::Encode::size(&self.$field) $(+ $pad)?)*
                    $($(+ 4 + self.$part.len())*)?
                    $(+ self.$tail.map_or(0, |_| 4))?
            }
            fn encode<O: $crate::output::Output>(&self, out: &mut O) {
                $(
                    $crate::codec::Encode::encode(&self.$field, out);
                    $(out.put_zeros($pad);)?
                )*
                $(
                    $($crate::codec::encode_len(self.$part.len(), out);)*
                    $(out.put_bytes(self.$part);)*
                )?
                $(
                    if let Some(word) = self.$tail {
                        $crate::codec::Encode::encode(&word, out);
                    }
                )?
            }
        }

        impl<'a> $crate::codec::Decode<'a> for $name $(<$lt>)? {
            const MIN_SIZE: usize = 0
                $(+ <$ty as $crate::codec::Decode<'a>>::MIN_SIZE $(+ $pad)?)*
                $($(+ layout!(@length_word $part))*)?;
            fn decode(
                r: &mut $crate::reader::Reader<'a>,
            ) -> Result<Self, $crate::error::Error> {
                $(
                    let $field = <$ty as $crate::codec::Decode<'a>>::decode(r)
                        .map_err(|e| e.named(concat!(stringify!($name), ".", stringify!($field))))?;
                    $(r.skip($pad)
                        .map_err(|e| e.named(concat!(stringify!($name), " padding")))?;)?
                )*
                $(
                    $(let $part = <u32 as $crate::codec::Decode<'a>>::decode(r).map_err(|e| {
                        e.named(concat!(stringify!($name), ".", stringify!($part), " length"))
                    })?;)*
                    $(let $part = r.take($part as usize)
                        .map_err(|e| e.named(concat!(stringify!($name), ".", stringify!($part))))?;)*
                )?
                $(let $tail = <u32 as $crate::codec::Decode<'a>>::decode(r).ok();)?
                Ok($name { $($field,)* $($($part,)*)? $($tail,)? })
            }
        }

        impl $(<$lt>)? $crate::inspect::Inspect for $name $(<$lt>)? {
            fn inspect(&self) -> $crate::inspect::Value {
                $crate::inspect::Value::Record(vec![
                    $((stringify!($field), $crate::inspect::Inspect::inspect(&self.$field)),)*
                    $($((stringify!($part), $crate::inspect::Inspect::inspect(&self.$part)),)*)?
                    $((stringify!($tail), $crate::inspect::Inspect::inspect(&self.$tail)),)?
                ])
            }
        }

        #[cfg(test)]
        impl<'a> $crate::sample::Sample<'a> for $name $(<$lt>)? {
            fn sample(u: &mut $crate::sample::Entropy<'a>) -> Self {
                $name {
                    $($field: <$ty as $crate::sample::Sample<'a>>::sample(u),)*
                    $($($part: <&'a [u8] as $crate::sample::Sample<'a>>::sample(u),)*)?
                    $($tail: <Option<u32> as $crate::sample::Sample<'a>>::sample(u),)?
                }
            }
        }

        $(
            impl $name {
                /// Size of the encoding in bytes.
                pub const SIZE: usize = $size;
            }
            const _: () = assert!(<$name as $crate::codec::Decode<'static>>::MIN_SIZE == $size);
        )?
    };
    (@length_word $part:ident) => { 4 };
}
