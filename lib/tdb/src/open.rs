// SPDX-License-Identifier: GPL-3.0-or-later
//! Opening and creating a file (spec/tdb.md 12).

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::fcntl::{RangeLocks, Wait, TO_EOF};
use crate::fork::Origin;
use crate::header::{Header, HeaderError};
use crate::layout::*;
use crate::lockfile::LockFile;
use crate::locks::HeldLocks;
use crate::mutex::{self, MutexArea};
use crate::registry::{open_registered, Refusal};
use crate::size::SizeWatch;
use crate::storage::Storage;
use crate::*;

/// Dead records per chain with TDB_VOLATILE.
const VOLATILE_MAX_DEAD: u32 = 5;

/// Bytes read at a time to find out whether a file is empty.
const VACANT_PIECE: usize = 1 << 16;

/// An open in progress.
struct Opening<'a> {
    path: Arc<Path>,
    file: Arc<File>,
    ranges: RangeLocks,
    options: &'a OpenOptions,
    flags: u32,
    hash_size: u32,
    /// We hold the active lock exclusively: nobody else is using the file.
    alone: bool,
}

impl Tdb {
    /// Opens (and with `options.create` creates) the database at `path`.
    ///
    /// Runs recovery if a transaction was interrupted. May wait for the open lock. With
    /// `options.check` the whole file is checked before the handle is given out.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Tdb> {
        let path: Arc<Path> = Arc::from(path.as_ref());
        let flags = effective_flags(options)?;
        let (file, registration) = if flags & TDB_INTERNAL != 0 {
            (anonymous_file().map_err(|e| io_error(&path, "create", e))?, None)
        } else {
            let opened = open_registered(&path, options.lock_style, || open_file(&path, options));
            let (file, registration) = opened.map_err(|refusal| match refusal {
                Refusal::AlreadyOpen => Error::AlreadyOpen { path: path.clone() },
                Refusal::Io(e) => io_error(&path, "open", e),
            })?;
            (file, Some(registration))
        };
        let file = Arc::new(file);
        let mut opening = Opening {
            path,
            ranges: RangeLocks::new(file.clone(), options.lock_style),
            file,
            options,
            flags,
            hash_size: if options.hash_size == 0 { DEFAULT_HASH_SIZE } else { options.hash_size },
            alone: false,
        };
        let mut tdb = opening.run()?;
        tdb._registration = registration;
        if options.check {
            tdb.check()?;
        }
        Ok(tdb)
    }
}

fn io_error(path: &Arc<Path>, action: &'static str, source: io::Error) -> Error {
    Error::Io { path: path.clone(), action, source }
}

/// Rules on the flags that come before the file is touched (12.1).
fn effective_flags(options: &OpenOptions) -> Result<u32> {
    let mut flags = options.tdb_flags & !(TDB_BIGENDIAN);
    if options.read_only {
        flags |= TDB_NOLOCK;
        flags &= !(TDB_CLEAR_IF_FIRST | TDB_MUTEX_LOCKING);
    }
    if flags & (TDB_INTERNAL | TDB_MUTEX_LOCKING) != 0 {
        flags |= TDB_INCOMPATIBLE_HASH;
    }
    let nesting = TDB_ALLOW_NESTING | TDB_DISALLOW_NESTING;
    if flags & nesting == nesting {
        return Err(Error::Usage("nesting both allowed and disallowed"));
    }
    if flags & nesting == 0 {
        flags |= TDB_ALLOW_NESTING;
    }
    if flags & TDB_MUTEX_LOCKING != 0 {
        if flags & (TDB_INTERNAL | TDB_NOMMAP) != 0 {
            return Err(Error::Usage("mutexes need a mapped file"));
        }
        if flags & TDB_CONVERT != 0 && options.create {
            return Err(Error::Usage("mutexes and foreign byte order do not go together"));
        }
        if !mutex::supported() {
            return Err(Error::Unsupported("robust mutexes on this platform"));
        }
    }
    if flags & TDB_INTERNAL != 0 {
        flags |= TDB_NOLOCK | TDB_NOMMAP;
        flags &= !TDB_CLEAR_IF_FIRST;
    }
    if std::env::var_os("TDB_NO_FSYNC").is_some() {
        flags |= TDB_NOSYNC;
    }
    if options.hash_size > MAX_HASH_SIZE {
        return Err(Error::Usage("hash size too large"));
    }
    Ok(flags)
}

fn open_file(path: &Path, options: &OpenOptions) -> io::Result<File> {
    // O_CLOEXEC is std's default.
    let mut open = fs::OpenOptions::new();
    open.read(true).write(!options.read_only).mode(options.mode);
    if options.create && !options.read_only {
        if options.exclusive {
            open.create_new(true);
        } else {
            open.create(true);
        }
    }
    open.custom_flags(libc::O_NOCTTY).open(path)
}

fn anonymous_file() -> io::Result<File> {
    let name: &CStr = c"tdb";
    // SAFETY: `name` is a valid C string.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

impl Opening<'_> {
    fn takes_locks(&self) -> bool {
        self.flags & TDB_NOLOCK == 0
    }

    fn lock(&self, mode: LockMode, start: u64, len: u64, wait: Wait) -> Result<bool> {
        if !self.takes_locks() {
            return Ok(true);
        }
        self.ranges.lock(mode, start, len, wait).map_err(|e| self.io_error("lock", e))
    }

    fn unlock(&self, start: u64, len: u64) -> Result<()> {
        if !self.takes_locks() {
            return Ok(());
        }
        self.ranges.unlock(start, len).map_err(|e| self.io_error("unlock", e))
    }

    fn io_error(&self, action: &'static str, source: io::Error) -> Error {
        io_error(&self.path, action, source)
    }

    fn unsound(&self, error: HeaderError) -> Error {
        Error::Corrupt(Box::new(Corruption {
            path: self.path.clone(),
            offset: error.offset,
            expected: error.expected,
            found: error.found,
            errno: error.errno,
        }))
    }

    /// The sequence of 12.2. Every early return closes the file, which drops its locks.
    fn run(&mut self) -> Result<Tdb> {
        self.lock(LockMode::Exclusive, LOCK_OPEN, 1, Wait::Block)?;
        let truncate = self.options.truncate && self.may_create();
        if self.flags & TDB_CLEAR_IF_FIRST != 0 || truncate {
            self.clear_if_first()?;
            if truncate && !self.alone && self.takes_locks() {
                return Err(Error::Lock("the file is in use"));
            }
        }
        let header = match self.read_header()? {
            Some(header) => header,
            None if self.may_create() && self.is_vacant()? => {
                self.create()?;
                self.read_header()?.ok_or_else(|| self.not_a_database())?
            }
            None => return Err(self.not_a_database()),
        };
        let mutexes = self.attach_mutexes(&header)?;
        let mut tdb = self.handle(&header, mutexes)?;
        self.settle_active_lock(tdb.uses_mutexes())?;
        // Recovery of a mutex file has to exclude the holders of chain mutexes, whom the open lock
        // does not stop: it follows below, in the order of a survivor (25 H5).
        let late = header.mutex_size > 0 && self.takes_locks();
        if !self.takes_locks() {
            self.recover_without_locks(&mut tdb)?;
        } else if !late {
            tdb.recover()?;
        }
        self.unlock(LOCK_OPEN, 1)?;
        if late && tdb.needs_recovery() {
            tdb.recover_as_survivor()?;
        }
        Ok(tdb)
    }

    fn may_create(&self) -> bool {
        (self.options.create && !self.options.read_only) || self.flags & TDB_INTERNAL != 0
    }

    /// What a handle without locks does about an interrupted transaction, in the middle of which
    /// somebody may be (25 H15).
    fn recover_without_locks(&self, tdb: &mut Tdb) -> Result<()> {
        if self.flags & TDB_INTERNAL != 0 {
            return Ok(());
        }
        tdb.wait_for_commit()?;
        if self.options.read_only || !tdb.needs_recovery() {
            return tdb.recover();
        }
        tdb.recover_under_range()
    }

    /// Whether nothing is lost if a database is made of a file that is none: it is empty, or all
    /// zero, as a creator leaves it that died meanwhile.
    fn is_vacant(&self) -> Result<bool> {
        let mut bytes = vec![0u8; VACANT_PIECE];
        let mut at = 0;
        loop {
            let count = match self.file.read_at(&mut bytes, at) {
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.io_error("read", e)),
            };
            if count == 0 {
                return Ok(true);
            }
            if bytes[..count].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += count as u64;
        }
    }

    fn not_a_database(&self) -> Error {
        self.unsound(HeaderError {
            offset: 0,
            expected: "the magic string of a TDB file and a whole header".into(),
            found: "something else or a shorter file".into(),
            errno: libc::EIO,
        })
    }

    fn clear_if_first(&mut self) -> Result<()> {
        self.alone = self.lock(LockMode::Exclusive, LOCK_ACTIVE, 1, Wait::Try)?;
        if !self.alone {
            return Ok(());
        }
        self.lock(LockMode::Exclusive, LOCK_CHAINS, TO_EOF, Wait::Block)?;
        self.create()?;
        self.unlock(LOCK_CHAINS, TO_EOF)
    }

    /// Reads and judges the first copy of the header; `None` if the file is no database.
    fn read_header(&self) -> Result<Option<Header>> {
        let mut bytes = [0u8; HEADER_SIZE as usize];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(self.io_error("read header", e)),
        }
        Header::parse(&bytes, self.options.hash_function).map_err(|e| self.unsound(e))
    }

    /// Makes an empty database of the file, in place (12.3).
    fn create(&self) -> Result<()> {
        let with_mutexes = self.flags & TDB_MUTEX_LOCKING != 0;
        let incompatible = self.flags & TDB_INCOMPATIBLE_HASH != 0;
        let kind = match self.options.hash_function {
            Some(function) => HashKind::Custom(function),
            None if incompatible => HashKind::Jenkins,
            None => HashKind::Old,
        };
        let mut header = Header::fresh(
            self.hash_size,
            kind,
            self.flags & TDB_CONVERT != 0,
            if with_mutexes { mutex::area_size(self.hash_size) } else { 0 },
        )
        .ok_or(Error::Usage("hash size too large"))?;
        if incompatible && header.rwlocks == 0 {
            header.rwlocks = RWLOCKS_HASH;
        }
        let mut image = header.bytes().to_vec();
        image.resize(data_start(self.hash_size) as usize, 0);
        let start = u64::from(header.mutex_size);
        self.file.set_len(0).map_err(|e| self.io_error("truncate", e))?;
        self.allocate(start + image.len() as u64)?;
        let write = |bytes: &[u8], at: u64| {
            self.file.write_all_at(bytes, at).map_err(|e| self.io_error("write header", e))
        };
        write(&image, start)?;
        if with_mutexes {
            MutexArea::map(&self.file, self.hash_size)
                .and_then(|area| area.initialise())
                .map_err(|e| self.io_error("initialise mutexes", e))?;
            // The copy that makes the file a database comes last.
            write(&image[..HEADER_SIZE as usize], 0)?;
        }
        Ok(())
    }

    /// Real blocks for the first `len` bytes: the mutexes are written through a mapping, where a
    /// full disk would be a SIGBUS.
    fn allocate(&self, len: u64) -> Result<()> {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open while `self.file` lives.
        match unsafe { libc::posix_fallocate(self.file.as_raw_fd(), 0, len as libc::off_t) } {
            0 => Ok(()),
            error @ (libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Err(Error::NoSpace {
                path: self.path.clone(),
                needed: len,
                source: io::Error::from_raw_os_error(error),
            }),
            _ => self.file.set_len(len).map_err(|e| self.io_error("truncate", e)),
        }
    }

    /// The rules of 10.6, and left-over lock states of a dead generation (12.2 step 9).
    fn attach_mutexes(&mut self, header: &Header) -> Result<Option<Arc<MutexArea>>> {
        if !header.has_mutexes() {
            return Ok(None);
        }
        let refuse = |expected: String, found: String| {
            self.unsound(HeaderError {
                offset: OFF_MUTEX_SIZE,
                expected,
                found,
                errno: libc::EINVAL,
            })
        };
        if self.takes_locks() {
            if self.flags & TDB_MUTEX_LOCKING == 0 {
                return Err(Error::Usage("a mutex file needs TDB_MUTEX_LOCKING or TDB_NOLOCK"));
            }
            let size = mutex::area_size(header.hash_size);
            if u64::from(header.mutex_size) != size {
                return Err(refuse(
                    format!("mutex area of {size} bytes"),
                    format!("{}", header.mutex_size),
                ));
            }
        } else if header.mutex_size == 0 || header.mutex_size % 8 != 0 {
            return Err(refuse("a mutex area".into(), format!("size {}", header.mutex_size)));
        }
        if !self.takes_locks() {
            return Ok(None);
        }
        let area = MutexArea::map(&self.file, header.hash_size)
            .map_err(|e| self.io_error("map mutexes", e))?;
        if self.flags & TDB_CLEAR_IF_FIRST == 0 {
            self.alone = self.lock(LockMode::Exclusive, LOCK_ACTIVE, 1, Wait::Try)?;
            if self.alone {
                area.initialise().map_err(|e| self.io_error("initialise mutexes", e))?;
            }
        }
        Ok(Some(Arc::new(area)))
    }

    /// Keeps the file alive for its users (12.2 step 15). The open lock is still held, so nobody
    /// can slip in between the two calls.
    fn settle_active_lock(&self, has_mutexes: bool) -> Result<()> {
        if self.alone {
            self.unlock(LOCK_ACTIVE, 1)?;
        }
        // A mutex file whose active lock was busy is in use too, and nobody may reinitialise
        // mutexes that we hold: so every mutex handle takes the lock.
        if self.alone || has_mutexes || self.flags & TDB_CLEAR_IF_FIRST != 0 {
            self.lock(LockMode::Shared, LOCK_ACTIVE, 1, Wait::Block)?;
        }
        Ok(())
    }

    fn handle(&self, header: &Header, mutexes: Option<Arc<MutexArea>>) -> Result<Tdb> {
        let mut flags = self.flags & !TDB_CONVERT;
        if header.swapped {
            flags |= TDB_CONVERT;
        }
        if header.is_big_endian() {
            flags |= TDB_BIGENDIAN;
        }
        let use_map = flags & TDB_NOMMAP == 0;
        let mut io =
            Storage::new(self.path.clone(), self.file.clone(), !self.options.read_only, use_map);
        io.start = u64::from(header.mutex_size);
        io.swapped = header.swapped;
        io.refresh()?;
        let hash_size = header.hash_size;
        if hash_size > MAX_HASH_SIZE || u64::from(io.size()) < header.heads_end() {
            return Err(self.unsound(HeaderError {
                offset: OFF_HASH_SIZE,
                expected: format!("{hash_size} chain heads inside the file"),
                found: format!("end of file at {}", io.size()),
                errno: libc::EINVAL,
            }));
        }
        if flags & TDB_INTERNAL != 0 {
            io.move_to_memory()?;
        }
        let max_dead = match self.options.max_dead {
            Some(max_dead) => max_dead,
            None if flags & TDB_VOLATILE != 0 => VOLATILE_MAX_DEAD,
            None => 0,
        };
        let size_watch = SizeWatch::new(flags, self.options, mutexes.is_some());
        Ok(Tdb {
            io,
            locks: LockFile {
                path: self.path.clone(),
                ranges: self.ranges.clone(),
                mutexes,
                hash_size,
            },
            held: HeldLocks::default(),
            hints: Default::default(),
            changes: 0,
            hash_kind: header.hash_kind,
            hash_size,
            flags,
            read_only: self.options.read_only,
            identity: [hash_size, header.magic_hash.0],
            size_watch,
            max_dead,
            txn: None,
            frozen: None,
            waiters: None,
            origin: Origin::here(),
            _registration: None,
        })
    }
}
