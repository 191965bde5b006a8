//! Numbers, times, JSON and foreign text as people read them: what the program and the server's
//! pages show alike. No part of the library's contract.

pub mod escape;
pub mod human;
pub mod pretty;
pub mod time;
