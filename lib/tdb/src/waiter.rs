// SPDX-License-Identifier: GPL-3.0-or-later
//! Waiting for chain locks away from the event loop.
//!
//! A waiter thread takes the lock and reports a token; the loop works under it and drops it. On a
//! mutex file the thread owns the mutex, so it parks until the token is gone and unlocks itself. On
//! a fcntl file the lock stays with the waiters' file description, and the thread is free again.

use std::collections::{HashMap, VecDeque};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use crate::access::LockAccess;
use crate::fcntl::Wait;
use crate::mutex::Cancel;
use crate::parking::{enter, Parking};
use crate::sync::{thread, Arc, AtomicBool, Condvar, Mutex, Ordering, PoisonError};
use crate::{Error, LockMode, Result};

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(5);
/// Waiters need little stack; there may be hundreds.
const STACK_BYTES: usize = 128 << 10;
/// Bound of the requests waiting for a thread.
const MAX_QUEUE: usize = 1 << 20;

type Deliver = Box<dyn FnOnce(Result<ChainToken>) + Send>;

/// A file and a chain of it.
type Key = (u64, u32);

/// A chain lock that a waiter obtained. Dropping it releases the lock.
///
/// The loop works under it with `Tdb::with_marked_chain`.
pub struct ChainToken {
    access: LockAccess,
    chain: u32,
    hold: Hold,
}

enum Hold {
    /// A byte-range lock of the waiters' description.
    Range(Arc<Pool>),
    /// A mutex owned by a parked thread.
    Thread(Arc<Parking>),
}

impl ChainToken {
    /// The locked chain.
    pub fn chain(&self) -> u32 {
        self.chain
    }

    /// The file the chain belongs to.
    pub fn access(&self) -> &LockAccess {
        &self.access
    }
}

impl Drop for ChainToken {
    fn drop(&mut self) {
        match &self.hold {
            Hold::Thread(parking) => parking.release(),
            Hold::Range(pool) => {
                if let Err(error) = self.access.0.waiters.unlock_list(Some(self.chain)) {
                    log::error!("chain {} not unlocked: {error}", self.chain);
                }
                pool.finish((self.access.0.id, self.chain));
            }
        }
    }
}

/// Names one request of a `WaiterPool`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// A bounded set of threads that wait for chain locks. Requests beyond the bound queue, first come
/// first served, and so do further requests for a chain that is being waited for or held.
///
/// Dropping the pool withdraws all requests; tokens already delivered stay valid.
pub struct WaiterPool {
    pool: Arc<Pool>,
}

struct Request {
    ticket: u64,
    access: LockAccess,
    chain: u32,
    deliver: Deliver,
}

impl Request {
    fn key(&self) -> Key {
        (self.access.0.id, self.chain)
    }
}

/// A chain that a thread waits for, or that is held by a token (`deliver` is gone then).
struct Active {
    ticket: u64,
    deliver: Option<Deliver>,
    cancelled: Arc<AtomicBool>,
}

pub(crate) struct Pool {
    max_threads: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Request>,
    active: HashMap<Key, Active>,
    threads: usize,
    idle: usize,
    next_ticket: u64,
    closed: bool,
}

impl State {
    fn is_runnable(&self, request: &Request) -> bool {
        !request.access.0.frozen.load(Ordering::Acquire)
            && !self.active.contains_key(&request.key())
    }

    /// Index of the first request that can be worked on now.
    fn runnable(&self) -> Option<usize> {
        self.queue.iter().position(|request| self.is_runnable(request))
    }

    /// Whether at least `count` requests can be worked on now.
    fn has_runnable(&self, count: usize) -> bool {
        self.queue.iter().filter(|r| self.is_runnable(r)).take(count).count() == count
    }
}

/// What a thread works on.
struct Job {
    access: LockAccess,
    chain: u32,
    cancelled: Arc<AtomicBool>,
}

impl Cancel for Job {
    fn is_cancelled(&self) -> bool {
        // Waiting out a freeze would only occupy the thread.
        self.cancelled.load(Ordering::Acquire) || self.access.0.frozen.load(Ordering::Acquire)
    }
}

impl WaiterPool {
    /// A pool of at most `max_threads` threads (at least one); they start when needed and end when
    /// idle.
    pub fn new(max_threads: usize) -> WaiterPool {
        WaiterPool {
            pool: Arc::new(Pool {
                max_threads: max_threads.max(1),
                state: Mutex::new(State::default()),
                work: Condvar::new(),
            }),
        }
    }

    /// Requests the exclusive lock of `chain`. `deliver` is called once, on a waiter's thread,
    /// with the token or the error; not at all if the request is cancelled first.
    pub fn request_chain(
        &self,
        access: &LockAccess,
        chain: u32,
        deliver: Box<dyn FnOnce(Result<ChainToken>) + Send>,
    ) -> Result<Ticket> {
        if chain >= access.0.waiters.hash_size {
            return Err(Error::Usage("no such chain"));
        }
        self.pool.remember_at(access);
        let ticket = {
            let mut state = enter(&self.pool.state);
            if state.queue.len() >= MAX_QUEUE {
                return Err(Error::Lock("too many lock requests"));
            }
            state.next_ticket += 1;
            let ticket = state.next_ticket;
            state.queue.push_back(Request { ticket, access: access.clone(), chain, deliver });
            ticket
        };
        self.pool.kick();
        Ok(Ticket(ticket))
    }

    /// Withdraws a request. `true`: `deliver` will not be called. `false`: it was or is being
    /// called.
    ///
    /// A thread that sleeps in the kernel for a byte-range lock cannot be called back: it stays
    /// until it gets the lock, serves the next request for the same chain, or gives it back.
    pub fn cancel(&self, ticket: Ticket) -> bool {
        let mut state = enter(&self.pool.state);
        if let Some(at) = state.queue.iter().position(|r| r.ticket == ticket.0) {
            let request = state.queue.remove(at);
            drop(state);
            drop(request);
            return true;
        }
        let withdrawn = state.active.values_mut().find(|a| a.ticket == ticket.0).and_then(|a| {
            let deliver = a.deliver.take()?;
            a.cancelled.store(true, Ordering::Release);
            Some(deliver)
        });
        drop(state);
        withdrawn.is_some()
    }

    /// Requests that wait, with or without a thread. For statistics.
    pub fn pending(&self) -> usize {
        let state = enter(&self.pool.state);
        state.queue.len() + state.active.values().filter(|a| a.deliver.is_some()).count()
    }
}

impl Drop for WaiterPool {
    fn drop(&mut self) {
        let mut state = enter(&self.pool.state);
        state.closed = true;
        let queue = std::mem::take(&mut state.queue);
        let mut delivers = Vec::new();
        for active in state.active.values_mut() {
            active.cancelled.store(true, Ordering::Release);
            delivers.push(active.deliver.take());
        }
        drop(state);
        self.pool.work.notify_all();
        drop((queue, delivers));
    }
}

impl Pool {
    /// Lets a thaw of the file wake this pool.
    fn remember_at(self: &Arc<Pool>, access: &LockAccess) {
        let mut pools = enter(&access.0.pools);
        pools.retain(|weak| weak.strong_count() > 0);
        if !pools.iter().any(|weak| std::ptr::eq(weak.as_ptr(), Arc::as_ptr(self))) {
            pools.push(Arc::downgrade(self));
        }
    }

    /// Gets a thread going if there is work for one.
    pub fn kick(self: &Arc<Pool>) {
        let mut state = enter(&self.state);
        let idle = state.idle;
        if state.has_runnable(1) && idle > 0 {
            self.work.notify_one();
        }
        // An idle thread takes one request; that one may wait for long.
        if !state.has_runnable(idle + 1) {
            return;
        }
        if state.threads >= self.max_threads || state.closed {
            return;
        }
        let pool = self.clone();
        let started = thread::Builder::new()
            .name("tdb-waiter".into())
            .stack_size(STACK_BYTES)
            .spawn(move || pool.serve());
        match started {
            Ok(_) => state.threads += 1,
            // Requests stay queued; the next finished wait takes them.
            Err(error) => log::error!("no lock waiter thread: {error}"),
        }
    }

    /// Gets as many threads going as there is work for.
    pub fn kick_all(self: &Arc<Pool>) {
        self.work.notify_all();
        let waiting = enter(&self.state).queue.len().min(self.max_threads);
        for _ in 0..waiting {
            self.kick();
        }
    }

    /// A chain is free for the next request.
    fn finish(self: &Arc<Pool>, key: Key) {
        enter(&self.state).active.remove(&key);
        self.kick();
    }

    fn serve(self: Arc<Pool>) {
        while let Some(job) = self.next_job() {
            self.wait_for(&job);
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = enter(&self.state);
        loop {
            if state.closed {
                state.threads -= 1;
                return None;
            }
            if let Some(request) = state.runnable().and_then(|at| state.queue.remove(at)) {
                let cancelled = Arc::new(AtomicBool::new(false));
                let key = request.key();
                state.active.insert(
                    key,
                    Active {
                        ticket: request.ticket,
                        deliver: Some(request.deliver),
                        cancelled: cancelled.clone(),
                    },
                );
                return Some(Job { access: request.access, chain: request.chain, cancelled });
            }
            state.idle += 1;
            let (woken, timeout) =
                self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.runnable().is_none() {
                state.threads -= 1;
                return None;
            }
        }
    }

    fn wait_for(self: &Arc<Pool>, job: &Job) {
        let key = (job.access.0.id, job.chain);
        let locks = &job.access.0.waiters;
        match locks.lock_list(Some(job.chain), LockMode::Exclusive, Wait::Block, job) {
            Ok(true) => self.hand_over(job),
            Ok(false) => {
                self.put_back(job, key);
                self.finish(key);
            }
            Err(error) => {
                if let Some(deliver) = self.claim(key) {
                    guarded(|| deliver(Err(error)));
                }
                self.finish(key);
            }
        }
    }

    /// The wait was ended by a freeze: the request returns to the head of the queue.
    fn put_back(&self, job: &Job, key: Key) {
        let mut state = enter(&self.state);
        let Some(active) = state.active.get_mut(&key) else {
            return;
        };
        let ticket = active.ticket;
        if let Some(deliver) = active.deliver.take() {
            let (access, chain) = (job.access.clone(), job.chain);
            state.queue.push_front(Request { ticket, access, chain, deliver });
        }
    }

    /// Who gets the lock of this chain: the request it was taken for, or if that was withdrawn the
    /// next one for the same chain.
    fn claim(&self, key: Key) -> Option<Deliver> {
        let mut state = enter(&self.state);
        if let Some(deliver) = state.active.get_mut(&key).and_then(|a| a.deliver.take()) {
            return Some(deliver);
        }
        let at = state.queue.iter().position(|request| request.key() == key)?;
        let request = state.queue.remove(at)?;
        if let Some(active) = state.active.get_mut(&key) {
            active.ticket = request.ticket;
        }
        Some(request.deliver)
    }

    /// We own the lock.
    fn hand_over(self: &Arc<Pool>, job: &Job) {
        let key = (job.access.0.id, job.chain);
        let locks = &job.access.0.waiters;
        let Some(deliver) = self.claim(key) else {
            if let Err(error) = locks.unlock_list(Some(job.chain)) {
                log::error!("chain {} not unlocked: {error}", job.chain);
            }
            self.finish(key);
            return;
        };
        let token = |hold| ChainToken { access: job.access.clone(), chain: job.chain, hold };
        if locks.mutexes.is_none() {
            guarded(|| deliver(Ok(token(Hold::Range(self.clone())))));
            return;
        }
        let parking = Arc::new(Parking::default());
        guarded(|| deliver(Ok(token(Hold::Thread(parking.clone())))));
        parking.wait();
        if let Err(error) = locks.unlock_list(Some(job.chain)) {
            log::error!("chain {} not unlocked: {error}", job.chain);
        }
        self.finish(key);
    }
}

/// A panic of the receiver must not end the thread with a lock held.
pub(crate) fn guarded(deliver: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(deliver)).is_err() {
        log::error!("the receiver of a lock panicked");
    }
}
