//! The limits of the data model. The numbers stand in `shm-layout`, beside the bytes they bound.

pub use shm_layout::limits::*;
