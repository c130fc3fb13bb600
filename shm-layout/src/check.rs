//! The compile-time proof of a layout: size, alignment, every offset, and no padding between fields.

/// Asserts that a `#[repr(C)]` struct has this size and alignment, that its fields stand at these offsets, and that their sizes add up to the whole.
macro_rules! layout {
    ($type:ty, size $size:expr, align $align:expr, { $($field:ident : $kind:ty = $offset:expr),* $(,)? }) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size);
            assert!(core::mem::align_of::<$type>() == $align);
            $(assert!(core::mem::offset_of!($type, $field) == $offset);)*
            assert!(0 $(+ core::mem::size_of::<$kind>())* == $size, "the struct has padding");
        };
    };
}

pub(crate) use layout;
