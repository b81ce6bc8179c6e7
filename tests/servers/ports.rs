//! Ports for servers of tests.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A port that is free now. None is given twice, and they lie below those that connections get by themselves: one of these may be taken
/// when it is to be listened on.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let next = || 20_000 + u16::try_from((std::process::id() + GIVEN.fetch_add(1, Relaxed)) % 12_000).unwrap();
    std::iter::repeat_with(next).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
