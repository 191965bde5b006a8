//! The primitives of a scheduler that tries the orders in which threads can go on, with the faces
//! of those in `real`.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(loom)]
use loom as model;
#[cfg(shuttle)]
use shuttle as model;

pub(crate) use model::sync::atomic;
pub(crate) use model::thread;

/// A value of each thread. The standard library's macro takes a constant, too, which that of the
/// scheduler does not know.
macro_rules! of_each_thread {
    (static $name:ident: $of:ty = const $value:block;) => {
        #[cfg(loom)]
        loom::thread_local! { static $name: $of = $value; }
        #[cfg(shuttle)]
        shuttle::thread_local! { static $name: $of = $value; }
    };
}
pub(crate) use of_each_thread as thread_local;

/// A lock that a panic does not poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(model::sync::Mutex<T>);

#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    guard: model::sync::MutexGuard<'a, T>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(model::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard { guard, mutex: self }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(model::sync::Condvar);

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { guard, mutex } = guard;
        let guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        MutexGuard { guard, mutex }
    }

    /// As [`Condvar::wait`]. Whether the time is over before someone wakes the thread is the
    /// scheduler's choice: it knows no time.
    pub(crate) fn wait_for<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> MutexGuard<'a, T> {
        match is_over() {
            true => self.nap(guard, timeout),
            false => self.wait(guard),
        }
    }

    /// As [`Condvar::wait_for`], when the end of the time is what is waited for.
    #[expect(clippy::unused_self, reason = "as the real one")]
    pub(crate) fn nap<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _timeout: Duration,
    ) -> MutexGuard<'a, T> {
        let mutex = guard.mutex;
        drop(guard);
        thread::yield_now();
        mutex.lock()
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(shuttle)]
fn is_over() -> bool {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().r#gen()
}

#[cfg(loom)]
fn is_over() -> bool {
    true
}

/// A lock for readers or one writer. As with `parking_lot`, who wants to read waits for a writer
/// that waits: a thread that reads twice at a time can so come to wait for itself.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T> {
    gate: Gate,
    /// Never waited for: the gate lets nobody through who would have to.
    value: parking_lot::RwLock<T>,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    readers: usize,
    has_writer: bool,
    writers_waiting: usize,
}

/// The right to the value, given back when it is dropped.
#[derive(Debug)]
struct Permit<'a> {
    gate: &'a Gate,
    writes: bool,
}

#[derive(Debug)]
pub(crate) struct RwLockReadGuard<'a, T> {
    value: parking_lot::RwLockReadGuard<'a, T>,
    /// After the value, as it is dropped after it.
    _permit: Permit<'a>,
}

#[derive(Debug)]
pub(crate) struct RwLockWriteGuard<'a, T> {
    value: parking_lot::RwLockWriteGuard<'a, T>,
    permit: Permit<'a>,
}

impl Gate {
    fn read(&self, before_writers: bool) -> Permit<'_> {
        let mut state = self.state.lock();
        while state.has_writer || !before_writers && state.writers_waiting > 0 {
            state = self.changed.wait(state);
        }
        state.readers += 1;
        Permit { gate: self, writes: false }
    }

    fn write(&self) -> Permit<'_> {
        let mut state = self.state.lock();
        state.writers_waiting += 1;
        while state.has_writer || state.readers > 0 {
            state = self.changed.wait(state);
        }
        state.writers_waiting -= 1;
        state.has_writer = true;
        Permit { gate: self, writes: true }
    }
}

impl Permit<'_> {
    fn downgrade(&mut self) {
        let mut state = self.gate.state.lock();
        state.has_writer = false;
        state.readers += 1;
        self.writes = false;
        self.gate.changed.notify_all();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        match self.writes {
            true => state.has_writer = false,
            false => state.readers -= 1,
        }
        self.gate.changed.notify_all();
    }
}

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { gate: Gate::default(), value: parking_lot::RwLock::new(value) }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        let permit = self.gate.read(false);
        RwLockReadGuard { value: self.value.read(), _permit: permit }
    }

    /// As [`RwLock::read`], also beside a writer that waits.
    pub(crate) fn read_recursive(&self) -> RwLockReadGuard<'_, T> {
        let permit = self.gate.read(true);
        RwLockReadGuard { value: self.value.read(), _permit: permit }
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        let permit = self.gate.write();
        RwLockWriteGuard { value: self.value.write(), permit }
    }
}

impl<'a, T> RwLockWriteGuard<'a, T> {
    pub(crate) fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let Self { value, mut permit } = guard;
        let value = parking_lot::RwLockWriteGuard::downgrade(value);
        permit.downgrade();
        RwLockReadGuard { value, _permit: permit }
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
