// SPDX-License-Identifier: GPL-3.0-or-later
//! A node's daemon in one process, from the command line to the exit code (`spec/events-config.md 10.2`).

use crate::cluster_lock::{ClusterLock, HelperCommand, Limits, LockNews};
use crate::config::{self, Config, Strictness};
use crate::hot::clients::Clients;
use crate::hot::links::Links;
use crate::hot::{Background, HotThread, Notifier, Parts, Process, WAKER};
use crate::level::Level;
use crate::logging::{self, Identity, Location};
use crate::nodes_file::{self, NodesSource};
use crate::own_address::{self, OwnAddress};
use crate::paths::Paths;
use crate::pidfile::PidFile;
use crate::process::{self, Caller};
use crate::signals::{Signal, Signals};
use crate::store::{Store, StoreConfig};
use crate::{child_output, startup, tunables_file};
use ctdb_engine::cluster::Cluster;
use ctdb_engine::database::Database;
use ctdb_engine::failover::Failover;
use ctdb_engine::ports::{LockEvent, LockRequest};
use ctdb_engine::proxy::Proxy;
use ctdb_engine::runtime::Runtime;
use ctdb_engine::time::WallTime;
use ctdb_engine::view::NodeView;
use ctdb_engine::{Daemon, Service, Tunables};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Exit codes (`spec/events-config.md 10.4`).
const EXIT_FAILURE: i32 = 1;
const EXIT_SOCKET: i32 = 10;
const EXIT_PID_FILE: i32 = 11;
/// Test mode, standard input closed: EPIPE.
const EXIT_STDIN: i32 = 32;

/// The release whose version keepalives carry: (major << 16) | minor.
const EMULATED_VERSION: u32 = 4 << 16 | 17;
/// Polling after traffic unless CTDB_BUSY_POLL_US says otherwise.
const BUSY_POLL: Duration = Duration::from_micros(100);

/// How the daemon was asked to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Stay in the foreground and log to standard error.
    pub interactive: bool,
}

/// Why the daemon did not start: the text for people and the exit code.
struct Failure(String, i32);

impl<T: std::fmt::Display> From<T> for Failure {
    fn from(why: T) -> Failure {
        Failure(why.to_string(), EXIT_FAILURE)
    }
}

/// Runs a node's daemon with all its services. Returns the exit code of the process.
pub fn run(options: RunOptions) -> i32 {
    match start(options) {
        Ok(code) => code,
        Err(Failure(why, code)) => {
            for line in why.lines() {
                log::error!("{line}");
            }
            // The log may be a file that nobody is looking at while the caller waits for an answer.
            eprintln!("ctdbd: {why}");
            code
        }
    }
}

/// What is known before the process becomes a daemon.
struct Prepared {
    paths: Paths,
    config: Config,
    tunables: Tunables,
    nodes: Vec<NodeView>,
    own: OwnAddress,
    lock: Option<HelperCommand>,
    pid_file: PidFile,
}

fn start(options: RunOptions) -> Result<i32, Failure> {
    let mut prepared = prepare(options)?;
    let caller = if options.interactive {
        Caller::none()
    } else {
        process::daemonise(prepared.paths.test_mode)
            .map_err(|e| format!("cannot become a daemon: {e}"))?
    };
    log::error!(
        "Starting CTDBD (Version {}) as PID: {}",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    prepared.pid_file.record().map_err(|e| Failure(e.to_string(), EXIT_PID_FILE))?;
    let socket_path = prepared.paths.socket("ctdbd");
    let socket = listen(&socket_path, prepared.paths.test_mode)
        .map_err(|why| Failure(format!("{}: {why}", socket_path.display()), EXIT_SOCKET))?;
    log::info!("Listening to ctdb socket {}", socket_path.display());
    let realtime = prepared.config.realtime_scheduling && !prepared.paths.test_mode;
    if realtime {
        process::set_realtime()?;
    }
    if !options.interactive {
        child_output::redirect_to_log(Level::ERROR).map_err(|e| format!("child output: {e}"))?;
    }
    let (thread, pid_file) = assemble(prepared, socket, realtime)?;
    caller.release(0);
    process::lock_memory();
    let code = thread.run().map_err(|why| format!("ctdb fatal error: {why}"))?;
    log::error!("CTDB daemon shutting down");
    drop(pid_file);
    Ok(code)
}

/// Everything that can fail before the caller is left, so that it sees the failure.
fn prepare(options: RunOptions) -> Result<Prepared, Failure> {
    let paths = Paths::from_env()?;
    let loaded = config::load(&paths.config_file(), &paths, Strictness::Lenient)?;
    let config = loaded.config;
    let location = match options.interactive {
        true => Location::Stderr,
        false => config.log_location.clone(),
    };
    logging::init(&location, config.log_level, Identity::new("ctdbd", &paths))
        .map_err(|e| format!("cannot log to {}: {e}", config.log_location_text))?;
    if !options.interactive {
        logging::announce("ctdbd", &config.log_location_text, &paths);
    }
    process::export_environment(
        &paths,
        &config.log_location_text,
        config.log_level,
        options.interactive,
    );
    log::error!("CTDB starting on node");
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    config.log_remarks();
    let lock = match &config.cluster_lock {
        Some(setting) => Some(HelperCommand::from_setting(setting, &paths)?),
        None => None,
    };
    // Before anything that a running daemon occupies: it is the clearest answer to a second start.
    let pid_file = PidFile::lock(&paths.pid_file("ctdbd"))
        .map_err(|e| Failure(e.to_string(), EXIT_PID_FILE))?;
    let nodes = config.nodes_source.load()?;
    for warning in startup::check_database_dirs(&config)? {
        log::warn!("{warning}");
    }
    let port = nodes_file::port();
    let own = own_address::find(&nodes, config.node_address, port, &paths.address_lock_file())?;
    log::info!("PNN is {}", own.pnn);
    let mut tunables = Tunables::default();
    tunables_file::load(&paths, &mut tunables).log();
    let nodes = nodes_file::to_views(&nodes, port);
    Ok(Prepared { paths, config, tunables, nodes, own, lock, pid_file })
}

/// Creates the client socket. One that a running daemon serves is not taken from it.
fn listen(path: &Path, test_mode: bool) -> Result<UnixListener, String> {
    if UnixStream::connect(path).is_ok() {
        return Err("another daemon serves this socket; stop it first".into());
    }
    match std::fs::remove_file(path) {
        Ok(()) => log::warn!("Removed stale socket {}", path.display()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(format!("cannot remove the stale socket: {e}")),
    }
    let socket = UnixListener::bind(path).map_err(|e| format!("cannot listen: {e}"))?;
    let mode = std::fs::Permissions::from_mode(0o700);
    if let Err(e) = std::fs::set_permissions(path, mode) {
        if !test_mode {
            return Err(format!("cannot restrict access: {e}"));
        }
    }
    Ok(socket)
}

fn assemble(
    p: Prepared,
    socket: UnixListener,
    realtime: bool,
) -> Result<(HotThread, PidFile), Failure> {
    let poll = mio::Poll::new()?;
    let (notifier, news) = Notifier::new(mio::Waker::new(poll.registry(), WAKER)?);
    take_signals(&notifier, p.paths.test_mode)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let boot = (now.as_nanos() as u64) ^ u64::from(std::process::id()) << 32;
    let registry = || poll.registry().try_clone();
    let links = Links::new(registry()?, p.own.listener, p.own.pnn, &p.nodes, boot)?;
    let clients = Clients::new(registry()?, socket, p.own.pnn)?;
    let store = Store::new(
        StoreConfig {
            volatile_dir: p.config.volatile_dir.clone(),
            persistent_dir: p.config.persistent_dir.clone(),
            state_dir: p.config.state_dir.clone(),
            mutexes: p.config.tdb_mutexes,
            pnn: p.own.pnn,
        },
        notifier.clone(),
    );
    let engine_config = ctdb_engine::Config {
        pnn: p.own.pnn,
        nodes: p.nodes,
        seed: boot,
        cluster_lock: p.config.cluster_lock.clone(),
        leader_timeout: p.config.leader_timeout,
        can_be_leader: p.config.leader_capability,
        can_be_lmaster: p.config.lmaster_capability,
        start_as_stopped: p.config.start_as_stopped,
        start_as_disabled: p.config.start_as_disabled,
        version: number_from_env("CTDB_TEST_SAMBA_VERSION").unwrap_or(EMULATED_VERSION),
        test_mode: p.paths.test_mode,
        started: WallTime(now),
    };
    let daemon = Daemon::new(engine_config, p.tunables, services());
    let lock = p.lock.map(|command| {
        let notifier = notifier.clone();
        ClusterLock::new(
            command,
            Limits::default(),
            Arc::new(move |news| notifier.send(Background::Lock(news))),
        )
    });
    let process = Box::new(OwnProcess { lock, nodes: p.config.nodes_source });
    // A real-time process that polls would keep ordinary ones from the processor.
    let busy_poll = match number_from_env("CTDB_BUSY_POLL_US") {
        Some(us) => Duration::from_micros(us.into()),
        None if realtime => Duration::ZERO,
        None => BUSY_POLL,
    };
    let parts = Parts { poll, news, notifier, store, links, clients, process, busy_poll };
    Ok((HotThread::new(daemon, parts), p.pid_file))
}

/// All services of a node.
pub fn services() -> Vec<Box<dyn Service>> {
    vec![
        Box::<Runtime>::default(),
        Box::<Cluster>::default(),
        Box::<Database>::default(),
        Box::<Proxy>::default(),
        Box::<Failover>::default(),
    ]
}

fn number_from_env(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(e) => {
            log::warn!("{name}={text:?} is ignored: {e}");
            None
        }
    }
}

fn take_signals(notifier: &Notifier, test_mode: bool) -> std::io::Result<()> {
    let to_loop = notifier.clone();
    Signals::take_over()?.spawn(move |signal| {
        to_loop.send(Background::Signal(signal));
        true
    })?;
    if test_mode {
        process::watch_stdin(|| {
            log::error!("stdin closed, exiting");
            std::process::exit(EXIT_STDIN);
        })?;
    }
    Ok(())
}

/// What the event loop needs of this process.
struct OwnProcess {
    lock: Option<ClusterLock>,
    nodes: NodesSource,
}

impl Process for OwnProcess {
    fn cluster_lock(&mut self, request: LockRequest) {
        match &mut self.lock {
            Some(lock) => lock.request(request),
            None => log::error!("a cluster lock was asked for, but none is configured"),
        }
    }

    fn lock_news(&mut self, news: LockNews) -> Option<LockEvent> {
        self.lock.as_ref().and_then(|lock| lock.accept(news))
    }

    fn read_nodes(&mut self) -> Result<Vec<NodeView>, String> {
        let nodes = self.nodes.load().map_err(|e| e.to_string())?;
        Ok(nodes_file::to_views(&nodes, nodes_file::port()))
    }

    fn log_level(&self) -> i32 {
        logging::level().0
    }

    fn set_log_level(&mut self, level: i32) {
        logging::set_level(Level(level));
    }

    fn signal(&mut self, signal: Signal) {
        if signal == Signal::Hangup {
            logging::reopen();
        }
    }
}
