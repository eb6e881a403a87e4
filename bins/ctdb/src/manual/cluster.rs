// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands about nodes, their daemons, addresses and connections.

use super::{entry, Entry};

pub(super) const ENTRIES: &[Entry] = &[
    entry("version", "Prints the version of this tool. No daemon is asked."),
    entry(
        "status",
        "Shows the nodes with their state, the generation, the VNN map (which node is location master of which \
         slot), the recovery mode and the leader, all as the addressed node sees them.\n\
         A state is OK or a list of DISCONNECTED (no connection), UNKNOWN (the daemon has just started), DISABLED (by an \
         administrator), BANNED (kept out for a while), UNHEALTHY (services do not work), DELETED, STOPPED (by an \
         administrator) and INACTIVE (takes no part). PARTIALLYONLINE is a node without flags that has an interface which \
         is down. Waits for the leader to announce itself, which it does each second.",
    )
    .such_as(&[
        ("ctdb status", "the cluster, as the local node sees it"),
        ("ctdb --json status", "the same for programs"),
    ]),
    entry(
        "nodestatus",
        "Shows the nodes of the list, as status does; without a list the addressed node, with all every node. The exit \
         status is all their flags together: 1 disconnected, 2 unhealthy, 4 disabled, 8 banned, 32 stopped, 64 unknown; 0 is \
         well. An error gives 1, too.",
    )
    .such_as(&[
        ("ctdb nodestatus all", "exit status 0 if all nodes are OK"),
        ("ctdb nodestatus 0,2", "two of them"),
    ]),
    entry(
        "uptime",
        "Shows when the daemon started, and when the last recovery ended and how long it took; a negative duration means that \
         one is going on.",
    ),
    entry("ping", "Measures how long the addressed daemon needs to answer, and shows how many clients it has.")
        .such_as(&[("ctdb -n 1 ping", "the daemon of node 1")]),
    entry(
        "runstate",
        "Shows the run state of the daemon: INIT, SETUP, FIRST_RECOVERY, STARTUP, RUNNING or SHUTDOWN. With states as \
         arguments the exit status is 0 only if it is in one of them.",
    )
    .such_as(&[("ctdb runstate startup running", "exit status 0 once the first recovery is over")]),
    entry("getvar", "Shows the value of a tunable. Upper and lower case are the same.")
        .such_as(&[("ctdb getvar MonitorInterval", "one tunable")]),
    entry(
        "setvar",
        "Sets a tunable of the addressed node until its daemon ends. To set it for good, put it into the file \
         ctdb.tunables; to set it on all nodes, use onnode.",
    )
    .such_as(&[("onnode all ctdb setvar KeepaliveLimit 5", "on every node")]),
    entry("listvars", "Shows all tunables and their values, in the order of the daemon."),
    entry(
        "statistics",
        "Shows the counters of the addressed daemon since it started or since statisticsreset: packets by kind, locks, calls, \
         histograms of hops and of waiting times, and latencies in seconds. With -X there are two lines, names and values, \
         without the histograms.",
    ),
    entry("statisticsreset", "Sets the counters of the addressed daemon to zero and begins to count anew."),
    entry(
        "stats",
        "Shows former counters, newest first, as statistics does; the daemon puts some aside every StatHistoryInterval \
         seconds. A count limits them.",
    ),
    entry(
        "ip",
        "Shows the public addresses that the addressed node knows, and which node hosts each: -1 is none. With all, what all \
         active nodes know together. With -v also the interfaces: on which one it is, which are up, which are configured.",
    )
    .such_as(&[
        ("ctdb ip all", "all public addresses of the cluster"),
        ("ctdb -v ip", "with interfaces"),
    ]),
    entry("ipinfo", "Shows one public address: who hosts it, its interfaces, and how many addresses are on each."),
    entry("ifaces", "Shows the interfaces that public addresses may be on, whether their link is up, and how many addresses use each."),
    entry(
        "setifacelink",
        "Tells the daemon that the link of an interface is up or down, whatever it really is. An address is not hosted on an \
         interface that is down. Monitoring may change it back.",
    ),
    entry(
        "process-exists",
        "Says whether a process is connected to the addressed daemon as a client; with a message address, whether it listens \
         to that. The exit status is 0 if it does.",
    ),
    entry("getcapabilities", "Shows whether the addressed node can become leader (LEADER) and can be location master (LMASTER)."),
    entry("pnn", "Prints the number of the local node."),
    entry("leader", "Prints the number of the leader, or UNKNOWN if none announces itself within the time limit."),
    entry("getreclock", "Prints the setting of the cluster lock: a file, or a command behind an exclamation mark; nothing if there is none."),
    entry("getpid", "Prints the process id of the addressed daemon."),
    entry("getdebug", "Prints the log level of the addressed daemon."),
    entry(
        "setdebug",
        "Sets the log level of the addressed daemon until it ends. The level may be shortened or a number from 0 to 10.",
    )
    .such_as(&[("ctdb setdebug info", "more in the log")]),
    entry("dumpmemory", "Prints what the daemon says about its memory. The text is made for developers."),
    entry("rddumpmemory", "Prints what the recovery daemon says about its memory. The text is made for developers."),
    entry(
        "disable",
        "Makes a node give up its public addresses; it stays in the cluster and keeps its databases. Returns when the addresses \
         have moved.",
    )
    .such_as(&[("ctdb -n 2 disable", "no addresses for node 2")]),
    entry("enable", "Ends what disable began: the node may host public addresses again. Returns when they have been assigned."),
    entry(
        "stop",
        "Takes a node out of the cluster without ending its daemon: it hosts no addresses and has no part of the databases. \
         Returns when the addresses have moved.",
    ),
    entry("continue", "Takes a stopped node back into the cluster. Returns after the recovery, when addresses have been assigned."),
    entry("ban", "Keeps a node out of the cluster for some seconds, as it does by itself when a node misbehaves.")
        .such_as(&[("ctdb -n 1 ban 300", "for five minutes")]),
    entry("unban", "Takes a banned node back before its time is over."),
    entry("shutdown", "Ends the addressed daemon in order. For the local node, returns when it has ended."),
    entry(
        "recover",
        "Starts a recovery and returns when it is over. Recoveries soon after one another are delayed by the tunable \
         RerecoveryTimeout.",
    ),
    entry("ipreallocate", "Asks the leader to assign public addresses anew, and waits until it has."),
    entry("sync", "The former name of ipreallocate, which it does."),
    entry("setlmasterrole", "Says whether a node may be location master. Takes effect with the next recovery."),
    entry("setleaderrole", "Says whether a node may become leader."),
    entry("listnodes", "Prints the addresses in the nodes file of this machine. No daemon is asked. With -X, number and address."),
    entry(
        "reloadnodes",
        "Makes all daemons read their nodes file again. The files have to be the same on all nodes. A node is added at the end of \
         the file and deleted by a # in front of its line, after its daemon has ended.",
    ),
    entry(
        "moveip",
        "Moves a public address to another node. Without the tunable NoIPFailback the next assignment may move it back.",
    )
    .such_as(&[("ctdb moveip 192.168.1.10 1", "to node 1")]),
    entry("addip", "Adds a public address to a node until its daemon ends. To keep it, put it into the file public_addresses.")
        .such_as(&[("ctdb -n 1 addip 192.168.1.12/24 eth1", "an address that node 1 may host")]),
    entry("delip", "Removes a public address from a node until its daemon ends."),
    entry(
        "reloadips",
        "Makes nodes read their file public_addresses again, adds and removes what has changed, and assigns addresses. Without a \
         list the addressed node, with all every one.",
    ),
    entry("gratarp", "Makes the addressed node tell its network where an address is: a gratuitous ARP, or an unsolicited neighbour advertisement."),
    entry(
        "tickle",
        "Sends an empty TCP acknowledgement from one end of a connection to the other, so that a client notices at once \
         that its server has moved. Without arguments, connections are read from standard input, one a line. No daemon is asked; it \
         needs the right to use raw sockets.",
    )
    .such_as(&[("ctdb tickle 10.0.0.7:50123 192.168.1.10:445", "one connection")]),
    entry("gettickles", "Shows the client connections to a public address that will be tickled when it moves; of one port, or of all."),
    entry("addtickle", "Adds a connection to those that are tickled. Without arguments, reads them from standard input, one a line."),
    entry("deltickle", "Removes a connection from those that are tickled. Without arguments, reads them from standard input, one a line."),
    entry(
        "checktcpport",
        "Tries to bind a TCP port. The exit status is 0 if that is possible, which means that no service listens there, and 98 if one \
         does. No daemon is asked.",
    ),
    entry("natgw", "Shows the NAT gateway: the leader of this node's group, the list of its members, or their status."),
    entry("lvs", "Shows the LVS load balancer: the leader of this node's group, the list of its members, or their status."),
    entry("event", "Runs ctdb-event with the arguments: runs events, and lists, enables and disables event scripts."),
    entry(
        "scriptstatus",
        "Shows what each event script did the last time the event ran: its state, how long it took, when, and its output unless it was \
         well. The event is monitor if none is named.",
    ),
    entry(
        "top",
        "Shows the cluster live: nodes with packets and calls a second and mean latencies, databases with locks and hops, the keys \
         that nodes take away from each other most, and histograms of hops and of waiting times. Sampled every 2 seconds or as often \
         as said. Keys: 1 to 5 and Tab choose the view, s and S the column to sort by, r reverses, n and N go \
         from node to node, a shows all, p pauses, + and - change the interval, h helps, q quits. It goes on when nodes or the daemon go \
         away, and runs until it is told to end or until -T.",
    )
    .such_as(&[("ctdb top 0.5", "twice a second"), ("ctdb -n 1 top", "what concerns node 1")]),
    entry("help", "Explains a command. Without one, shows the options and all commands.")
        .such_as(&[("ctdb help nodestatus", "what nodestatus does")]),
];
