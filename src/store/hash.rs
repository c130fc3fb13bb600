//! Hashes: keys of the key-value space whose value is a set of fields, each with a value of its own.
//!
//! A key that holds something else answers [`Error::WrongKind`](super::Error::WrongKind) to all of these. A key that is absent
//! is a hash without fields; there is no other hash without fields.

use std::borrow::Cow;

use super::Result;

/// What becomes of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldUpdate<'v> {
    /// It stays as it is.
    Leave,
    /// It gets this value.
    Set(Cow<'v, [u8]>),
    /// It goes.
    Remove,
}

/// Decides what becomes of a field: its number among those that were named, and its value if it is there.
pub type DecideField<'d, 'v> = dyn FnMut(usize, Option<&[u8]>) -> Result<FieldUpdate<'v>> + 'd;

/// Fields up to which a hash is a small one, if none of them and of their values is too long, as Redis has it by default.
pub const PACKED_FIELDS: usize = 512;
/// Bytes of a field, or of a value, up to which a hash is a small one.
pub const PACKED_BYTES: usize = 64;

/// A field and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One page of a scan over fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPage {
    /// Where the next page starts; 0: there is none.
    pub cursor: u64,
    /// Fields and values, in no order.
    pub pairs: Vec<Pair>,
}

/// What a medium does with hashes.
pub trait HashBackend: Send + Sync {
    /// The value of a field.
    fn field(&self, db: u8, key: &[u8], field: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Bytes of a field's value.
    fn field_len(&self, db: u8, key: &[u8], field: &[u8]) -> Result<Option<usize>>;
    /// Several values as of one instant; `None` if they have more than `max` bytes, a field that is named twice counting twice.
    fn fields(&self, db: u8, key: &[u8], fields: &[&[u8]], max: usize) -> Result<Option<Vec<Option<Vec<u8>>>>>;
    /// How many fields there are.
    fn field_count(&self, db: u8, key: &[u8]) -> Result<u64>;
    /// All fields and values as of one instant, in no order; `None` if they have more than `max` bytes.
    fn pairs(&self, db: u8, key: &[u8], max: usize) -> Result<Option<Vec<Pair>>>;
    /// The next fields, about `count` of them, and fewer if they are large, from `cursor` on (0: from the start). A field that is present
    /// from the first page to the last is returned once.
    fn scan_fields(&self, db: u8, key: &[u8], cursor: u64, count: usize) -> Result<FieldPage>;
    /// The fields at the places that `choose` names when it is told how many fields there are, as of one instant, with their values or
    /// with empty ones; `None` if what is returned would have more than `max` bytes.
    fn choose_fields(
        &self,
        db: u8,
        key: &[u8],
        with_values: bool,
        max: usize,
        choose: &mut dyn FnMut(u64) -> Vec<u64>,
    ) -> Result<Option<Vec<Pair>>>;
    /// Changes fields in one atomic step, all or, if `decide` refuses one of them, none. It may be asked several times; it is shown the
    /// values if `with_values`, and otherwise empty ones. A field that is named twice is there for the first of them as before, and
    /// for the second as the first left it. The key is made with its first field, goes with its last, and keeps its expiry.
    fn change_fields<'v>(
        &self,
        db: u8,
        key: &[u8],
        fields: &[&[u8]],
        with_values: bool,
        decide: &mut DecideField<'_, 'v>,
    ) -> Result<()>;
    /// Whether there is such a hash, of [`PACKED_FIELDS`] and [`PACKED_BYTES`] at most.
    fn is_packed(&self, db: u8, key: &[u8]) -> Result<bool>;
}
