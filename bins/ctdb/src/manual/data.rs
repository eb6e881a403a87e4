// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands about databases and records.

use super::{entry, Entry};

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        "getdbmap",
        "Shows the databases that are attached at the addressed node: id, name, file, and PERSISTENT, STICKY, READONLY, REPLICATED or \
         UNHEALTHY. The newest is first.",
    )
    .such_as(&[("ctdb -X getdbmap", "the same for scripts")]),
    entry("getdbstatus", "Shows one database: id, name, file, kind, and whether its content is sound."),
    entry(
        "getdbseqnum",
        "Prints the sequence number of a persistent or replicated database, hexadecimal. It grows with each transaction and is the \
         same on all nodes.",
    ),
    entry(
        "dbstatistics",
        "Shows the counters of one database at the addressed node: locks, hops, latencies, and its hot keys, which are the records \
         whose calls were sent on most often.",
    ),
    entry(
        "catdb",
        "Prints the records of a database from the whole cluster, each once, without empty ones. For each its key, its owner (dmaster), \
         its sequence number (rsn), its flags and its value. If a traverse is given up the records so far are printed.",
    ),
    entry(
        "cattdb",
        "Prints the records in the local file of a database, empty ones too; those that other nodes own may be old. The \
         form is that of catdb.",
    ),
    entry(
        "attach",
        "Attaches a database at all nodes and creates it if it is not there: volatile, or persistent, replicated, sticky or readonly.",
    ),
    entry(
        "detach",
        "Detaches volatile databases from all nodes. Clients must not be able to attach while that is done: set the tunable \
         AllowClientDBAttach to 0 on all nodes first.",
    ),
    entry(
        "backupdb",
        "Writes all records of a database into a file: those of the local file, which for a persistent or replicated database are all \
         there are.",
    )
    .such_as(&[("ctdb backupdb secrets.tdb /backup/secrets.ctdb", "one database")]),
    entry(
        "restoredb",
        "Replaces the content of a database, on all nodes, by that of a file of backupdb, under its own or another name. The file is read \
         and checked before anything is changed; if it fails in the middle, the former content stays.",
    )
    .such_as(&[("ctdb restoredb /backup/secrets.ctdb", "under the name in the file")]),
    entry("dumpdbbackup", "Prints the records in a file of backupdb, in the form of catdb. No daemon is asked."),
    entry("wipedb", "Removes all records of a database on all nodes. There is no way back without a backup."),
    entry(
        "setdbreadonly",
        "Lets nodes have copies of the records of a volatile database that they may read, which helps when many read what few write. \
         Run it on all nodes.",
    ),
    entry(
        "setdbsticky",
        "Makes records of a volatile database that many nodes want stay at a node for a while before they move on. Run it on all nodes.",
    ),
    entry(
        "pfetch",
        "Prints the value of a record of a persistent or replicated database, up to its first zero byte. A key that begins with 0x is \
         hexadecimal; many programs store keys with a zero byte at their end.",
    )
    .such_as(&[("ctdb pfetch registry.tdb 0x6b657900", "a key with a zero byte")]),
    entry(
        "pstore",
        "Stores a record of a persistent or replicated database in a transaction. Key and value are text, or hexadecimal behind 0x. Storing \
         what is already there changes nothing.",
    ),
    entry("pdelete", "Deletes a record of a persistent or replicated database in a transaction. It need not exist."),
    entry(
        "ptrans",
        "Changes records of a persistent or replicated database in one transaction. Each line of the file or of standard input has a key \
         and a value in double quotes; an empty value deletes the record. Lines that make no sense are told of and left out.",
    ),
    entry(
        "tfetch",
        "Prints a record of a TDB file, whoever uses it; with a second file, writes the whole record with its header there. Made for \
         developers: the file is opened beside the daemon.",
    ),
    entry(
        "tstore",
        "Stores a record in a TDB file with a header of the given sequence number, owner and flags. Made for developers: it goes behind the \
         daemon's back and can break a cluster.",
    ),
    entry(
        "readkey",
        "Prints a record of a volatile database, up to its first zero byte. The record moves to the local node, unless readonly asks for a \
         copy.",
    ),
    entry("writekey", "Stores a record of a volatile database; it moves to the local node first."),
    entry("deletekey", "Empties a record of a volatile database. It is removed for good by the next vacuuming."),
    entry(
        "pushrecord",
        "Stores a record of a volatile database and sends it to all active nodes, so that all have the same copy. The local node stays \
         its owner.",
    ),
];
