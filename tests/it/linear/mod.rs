//! Linearizability across processes and deaths: what clients of all ways saw, while processes were killed and stopped, has an order.
//!
//! Clients in several processes ([`client`]) do what tickets say ([`calls`]) to a few hot objects, and write down when they began,
//! when they were answered, and what ([`log`]): through the library in processes of their own, over [`resp`] and over [`http`].
//! Meanwhile [`scenes`] kills, stops and continues processes at random. Afterwards the histories of all objects
//! ([`history`]) go to the checker ([`checker`]), which knows nothing of the store but four sequential models ([`models`]).
//! That the checker itself tells right from wrong is shown in [`tests`] and, against every order there is, in [`brute`].
//!
//! `IT_LINEAR_SECONDS` is how long the recording of all scenes takes together; without it, 20 seconds.

mod brute;
mod calls;
mod checker;
mod client;
mod history;
mod http;
mod log;
mod models;
mod resp;
mod scenes;
mod tests;
