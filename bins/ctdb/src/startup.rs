// SPDX-License-Identifier: GPL-3.0-or-later
//! From the command line to the running command (spec/tool.md 1.2, 1.4, 1.5).

use std::ffi::OsString;
use std::time::Duration;

use ctdb_wire::flags::node;
use ctdb_wire::srvid;
use ctdbcore::{Client, Deadline, Environment, Error};

use crate::args::Args;
use crate::commands::{help, listnodes};
use crate::exit::{result_of, Done, Exit, FAILED};
use crate::number::number;
use crate::options::{Help, Options};
use crate::table::{find, Action, Command};
use crate::tool::Tool;
use crate::{flags, paint, runtime, usage};

/// Seconds that a run may take unless something else is said.
const DEFAULT_RUNTIME: u64 = 120;

/// The whole program but its exit.
pub(crate) fn run(words: &[OsString]) -> Done {
    let posix = std::env::var_os("POSIXLY_CORRECT").is_some();
    let options = Options::parse(words, posix).map_err(|bad| {
        errln!("Invalid option {}: {}", bad.word, bad.why);
        FAILED
    })?;
    match options.help {
        Some(Help::Long) => out!("{}", usage::LONG),
        Some(Help::Short) => out!("{}", usage::SHORT),
        None => return checked(&options),
    }
    Ok(())
}

fn checked(options: &Options) -> Done {
    let limit = max_runtime(options)?;
    if options.json && options.machine {
        errln!("--json and -Y options are mutually exclusive");
        return Err(FAILED);
    }
    let Some(name) = options.words.first() else {
        usage::full();
        return Err(FAILED);
    };
    let name = name.to_string_lossy();
    let Some(command) = find(&name) else {
        help::unknown(&name);
        return Err(FAILED);
    };
    if options.json && !command.json {
        errln!("--json not supported by the {name} subcommand");
        return Err(FAILED);
    }
    if let Some(limit) = limit.filter(|_| !matches!(command.action, Action::Live(_))) {
        runtime::watch(limit);
    }
    paint::decide(options);
    let result = perform(command, options, Args::new(&options.words[1..]));
    if result == Err(Exit::Usage) {
        usage::of(command);
    }
    result
}

/// The limit of the whole run: the option, the environment, or the default.
fn max_runtime(options: &Options) -> Result<Option<Duration>, Exit> {
    if options.max_runtime != 0 {
        return Ok(u64::try_from(options.max_runtime).ok().map(Duration::from_secs));
    }
    let Some(text) = std::env::var_os("CTDB_TIMEOUT") else {
        return Ok(Some(Duration::from_secs(DEFAULT_RUNTIME)));
    };
    match number(&text.to_string_lossy()) {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(_) => {
            errln!("Invalid value CTDB_TIMEOUT");
            Err(FAILED)
        }
    }
}

fn perform(command: &Command, options: &Options, args: Args<'_>) -> Done {
    match command.action {
        Action::Alone(_) if options.node.is_some() => {
            errln!("Cannot specify node for command {}", command.name);
            Err(FAILED)
        }
        Action::Alone(action) => action(options, args),
        Action::Daemon(action) => action(&mut ready(command, options)?, args),
        Action::Live(action) => action(ready(command, options)?, args),
    }
}

/// A tool that is connected, has its target and listens for the leader.
fn ready<'o>(command: &Command, options: &'o Options) -> Result<Tool<'o>, Exit> {
    let mut tool = connect(options)?;
    choose_target(&mut tool, command)?;
    tool.client.register(srvid::LEADER, Deadline::NEVER).map_err(|e| {
        result_of(&e);
        errln!("Failed to setup leader handler");
        FAILED
    })?;
    Ok(tool)
}

fn connect(options: &Options) -> Result<Tool<'_>, Exit> {
    let environment = Environment::from_process();
    let path = environment.socket_path().map_err(|e| {
        errln!("{e}");
        FAILED
    })?;
    match Client::connect(&path, Deadline::NEVER) {
        Ok(client) => Ok(Tool::new(client, options)),
        Err(e) => {
            if let Error::Connect { .. } = e {
                errln!("connect() failed, errno={}", e.errno());
            }
            errln!("Failed to connect to CTDB daemon ({})", path.display());
            suspect_no_member();
            Err(FAILED)
        }
    }
}

/// A daemon that does not answer is less of a surprise where none belongs.
fn suspect_no_member() {
    let is_local = |addr: &std::net::IpAddr| std::net::UdpSocket::bind((*addr, 0)).is_ok();
    match listnodes::read() {
        Err(_) => (),
        Ok(nodes) if nodes.iter().flatten().any(is_local) => return,
        Ok(_) => errln!("Failed to detect PNN of the current node."),
    }
    errln!("Is this node part of CTDB cluster?");
}

/// Finds the node that the command is about, and whether it may be another one.
fn choose_target(tool: &mut Tool<'_>, command: &Command) -> Done {
    let Some(wanted) = tool.options.node else { return Ok(()) };
    let map = tool.nodemap()?;
    let Some(entry) = map.node.iter().find(|entry| entry.pnn == wanted) else {
        errln!("Node {wanted} does not exist");
        return Err(FAILED);
    };
    if entry.flags & (node::DISCONNECTED | node::DELETED) != 0 {
        errln!("Node {wanted} has status {}", flags::node_text(entry.flags));
        return Err(FAILED);
    }
    if !command.remote && wanted != tool.pnn() {
        errln!("Node cannot be specified for command {}", command.name);
        return Err(FAILED);
    }
    tool.target = wanted;
    Ok(())
}
