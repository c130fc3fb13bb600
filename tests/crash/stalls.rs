//! stub
pub(crate) fn run(_rounds: u64, _bounds: bool) -> bool {
    true
}
