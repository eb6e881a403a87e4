// SPDX-License-Identifier: GPL-3.0-or-later
//! The programs, and what their manual pages say that no command line tells.

use clap::{Arg, Command};

/// Names and their meanings.
pub type Pairs = &'static [(&'static str, &'static str)];

/// A program.
pub struct Program {
    /// Its command line.
    pub command: Command,
    pub exit_status: Pairs,
    pub environment: Pairs,
    pub files: Pairs,
    pub examples: Pairs,
    pub see_also: &'static [&'static str],
}

impl Program {
    fn new(command: Command, exit_status: Pairs, examples: Pairs) -> Program {
        let see_also = &["ctdb", "ctdbd", "onnode"];
        Program { command, exit_status, environment: &[], files: &[], examples, see_also }
    }
}

const PLAIN: Pairs = &[("0", "success"), ("1", "an error, which is told on standard error")];

const SOCKET: (&str, &str) = ("/run/ctdb/ctdbd.socket", "the socket of the daemon");
const NODES: (&str, &str) = ("/etc/ctdb/nodes", "the private addresses of the nodes, one a line");
const CONFIG: (&str, &str) = ("/etc/ctdb/ctdb.conf", "the configuration of the daemons");

/// All programs.
pub fn all() -> Vec<Program> {
    let mut programs = vec![
        ctdb(),
        ctdbd(),
        mutex(),
        bench(),
        onnode(),
        ltdbtool(),
        ping_pong(),
        event(),
        config(),
        path(),
        diagnostics(),
    ];
    programs.extend(groups());
    programs
}

fn ctdb() -> Program {
    Program {
        environment: &[
            ("CTDB_TIMEOUT", "seconds after which the program ends if -T is not given; 0 is never"),
            ("CTDB_SOCKET", "the socket of the daemon, instead of the usual one"),
            ("CTDB_BASE", "the directory of the nodes file; with CTDB_TEST_MODE, of everything"),
            ("NO_COLOR", "no colours in ctdb top and on terminals"),
            ("POSIXLY_CORRECT", "options end at the first word that is none"),
        ],
        files: &[SOCKET, NODES],
        see_also: &["ctdbd", "onnode", "ctdb-event", "ltdbtool"],
        ..Program::new(
            ctdb::command(),
            &[
                ("0", "success"),
                (
                    "1",
                    "wrong options or arguments, no connection, no such node, a refusal of the daemon, or -T is over",
                ),
                ("22, 34", "a number that is none, or too large"),
                ("110", "no answer within the time limit"),
                ("other", "the result of the command: of nodestatus the flags, of backups the error number"),
            ],
            &[
                ("ctdb status", "the state of the cluster"),
                ("ctdb -n 1 disable", "node 1 gives up its public addresses"),
                ("ctdb -X ip all", "public addresses, for scripts"),
                ("ctdb --json getdbmap", "databases, for programs"),
                ("ctdb top", "the cluster while one looks at it"),
            ],
        )
    }
}

fn ctdbd() -> Program {
    let text = "ctdbd is the daemon of a node of a CTDB cluster: it keeps the databases of clustered Samba the same on all nodes, \
                holds membership and leadership, and recovers when nodes come and go. It reads its configuration from ctdb.conf, goes into \
                the background when it has started, and ends in order on SIGTERM or ctdb shutdown.";
    Program {
        environment: &[(
            "CTDB_BUSY_POLL_US",
            "microseconds to look for the next packet before sleeping (100)",
        )],
        files: &[
            CONFIG,
            NODES,
            SOCKET,
            ("/run/ctdb/ctdbd.pid", "the process id, locked while the daemon lives"),
        ],
        see_also: &["ctdb", "onnode", "ctdb-mutex-fcntl"],
        ..Program::new(
            ctdbd::command().long_about(text),
            &[
                ("0", "the daemon has started; with -i, it has ended in order"),
                ("other", "it could not start, or failed"),
            ],
            &[
                ("ctdbd", "start in the background"),
                ("ctdbd -i", "stay in the foreground and log to standard error"),
            ],
        )
    }
}

fn mutex() -> Program {
    let command = Command::new("ctdb-mutex-fcntl")
        .about("hold a lock on a file of a cluster file system for ctdbd")
        .long_about(
            "ctdb-mutex-fcntl takes a POSIX lock on a file and holds it as long as its parent lives: the cluster lock. Running, it prints one \
             character: 0 when it has the lock, 1 if somebody else has it, 2 if waiting for it timed out, 3 for an error. It looks at the \
             file again and again and gives the lock up if it is another file.\n\
             ctdbd runs it for a cluster lock that is a file. It is also installed as ctdb_mutex_fcntl_helper.",
        )
        .override_usage("ctdb-mutex-fcntl FILE [RECHECK_INTERVAL [PING_TIMEOUT]]")
        .disable_help_flag(true)
        .arg(Arg::new("FILE").required(true).help("the lock file").value_hint(clap::ValueHint::FilePath))
        .arg(Arg::new("RECHECK_INTERVAL").help("seconds between two looks at the file (5); 0 is never"))
        .arg(Arg::new("PING_TIMEOUT").help("seconds that a look may take before the lock is given up; 0 is no limit"));
    Program::new(
        command,
        &[
            ("0", "the lock was held until the parent ended"),
            ("1", "the lock was not taken, or was lost"),
        ],
        &[("ctdb-mutex-fcntl /clusterfs/.ctdb/cluster.lock", "hold that lock")],
    )
}

fn bench() -> Program {
    Program::new(
        ctdb_bench::command(),
        PLAIN,
        &[(
            "ctdb-bench fetch-ring --sockets /run/ctdb/ctdbd.socket --seconds 5",
            "moves of a record a second",
        )],
    )
}

fn onnode() -> Program {
    Program {
        environment: &[
            ("ONNODE_SSH", "the program that is run instead of ssh"),
            ("ONNODE_SSH_OPTS", "options for it"),
            ("CTDB_NODES_FILE", "the nodes file"),
            ("CTDB_BASE", "the directory of the nodes file"),
        ],
        files: &[NODES],
        see_also: &["ctdb", "ssh"],
        ..Program::new(
            onnode::command(),
            &[
                ("0", "the command succeeded on all nodes"),
                ("other", "that of a node where it did not, or 1"),
            ],
            &[
                ("onnode all uptime", "on every node, one after the other"),
                ("onnode -p all systemctl restart ctdb", "on all nodes at once"),
                ("onnode 0,2-4 ctdb getpid", "on some nodes"),
            ],
        )
    }
}

fn ltdbtool() -> Program {
    Program::new(
        ltdbtool::command(),
        PLAIN,
        &[
            (
                "ltdbtool dump /var/lib/ctdb/persistent/secrets.tdb.0",
                "print the records of a local file",
            ),
            ("ltdbtool -o 0 convert secrets.tdb.0 secrets.tdb", "a file without record headers"),
        ],
    )
}

fn ping_pong() -> Program {
    Program::new(
        ping_pong::command(),
        PLAIN,
        &[(
            "ping_pong /clusterfs/test.dat 3",
            "on each of two nodes: locks a second of a cluster file system",
        )],
    )
}

fn event() -> Program {
    Program::new(
        ctdb_event::command(),
        &[("0", "success"), ("other", "an error, or the result of the event")],
        &[
            ("ctdb-event status legacy monitor", "what the scripts of the event did last"),
            ("ctdb-event script list legacy", "the scripts and whether they are enabled"),
        ],
    )
}

fn config() -> Program {
    Program {
        files: &[CONFIG],
        ..Program::new(
            ctdb_config::command(),
            &[
                ("0", "success"),
                ("2", "there is no such option or section"),
                ("other", "the file cannot be read, or is wrong"),
            ],
            &[
                ("ctdb-config validate", "is ctdb.conf as it should be?"),
                ("ctdb-config get cluster transport", "one option"),
            ],
        )
    }
}

fn path() -> Program {
    Program::new(
        ctdb_path::command(),
        PLAIN,
        &[
            ("ctdb-path socket ctdbd", "where the socket of the daemon is"),
            ("ctdb-path config", "where ctdb.conf is"),
        ],
    )
}

fn diagnostics() -> Program {
    Program {
        files: &[NODES, CONFIG],
        see_also: &["ctdb", "onnode"],
        ..Program::new(
            ctdb_diagnostics::command(),
            PLAIN,
            &[("ctdb_diagnostics", "gather what one needs to know of all nodes, and what differs")],
        )
    }
}

/// The helpers behind `ctdb natgw` and `ctdb lvs`.
fn groups() -> [Program; 2] {
    ctdb_groups::commands().map(|command| {
        let examples: Pairs = match command.get_name() {
            "ctdb_lvs" => &[("ctdb lvs list", "the members of the group, through ctdb")],
            _ => &[("ctdb natgw list", "the members of the group, through ctdb")],
        };
        let exit_status: Pairs = &[
            ("0", "success"),
            ("1", "wrong arguments, or an error"),
            ("2, 10, 255", "there is no leader, or no usable member"),
        ];
        let see_also = &["ctdb", "ctdbd"];
        Program { see_also, ..Program::new(command.disable_help_flag(true), exit_status, examples) }
    })
}
