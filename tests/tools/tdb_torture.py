#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process on python3-tdb that does what tests/src/tdb_torture/worker.rs does on our engine.

    tdb_torture.py FILE TDB_FLAGS HASH_SIZE DIRECTORY ID SEED SCENE MAX_DEAD

tests/src/tdb_torture/mod.rs says what the scene, the journal and the values are. The module has no
chain locks: what needs one takes the lock of the whole database.
"""

import os
import random
import struct
import sys

import tdb

PLAIN, TRANSACTIONS, WHOLE, CHECKED = 1, 2, 4, 8
KEYS, COUNTERS, GENERATION, MAX_BATCH = 300, 4, 100, 16
APPENDED = 0x80000000


def make_value(number, version):
    length = 12 + ((version * 2654435761 & 0xFFFFFFFF) >> 16) % 400
    tail = bytes((number + version + i) & 0xFF for i in range(12, length))
    return struct.pack("=III", number, version, length) + tail


def well_formed(number, value):
    if len(value) < 8:
        return False
    rest = value
    if not struct.unpack_from("=I", value, 4)[0] & APPENDED:
        want = make_value(number, struct.unpack_from("=I", value, 4)[0])
        if not value.startswith(want):
            return False
        rest = value[len(want):]
    if len(rest) % 8:
        return False
    return all(n == number and v & APPENDED for n, v in struct.iter_unpack("=II", rest))


class Worker:
    def __init__(self, path, flags, hash_size, directory, own_id, seed, scene, max_dead):
        self.own_id, self.scene = int(own_id), int(scene)
        self.random = random.Random(int(seed))
        self.version = 0
        self.stop = os.path.join(directory, "stop")
        journal = os.path.join(directory, "journal." + own_id)
        self.journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.db = tdb.Tdb(path, int(hash_size), int(flags), os.O_RDWR)
        self.db.max_dead = int(max_dead)

    def key(self, what, number):
        return struct.pack("=II", 0 if what == "i" else self.own_id, number)

    def word_at(self, number):
        value = self.db.get(self.key("i", number))
        return 0 if value is None else struct.unpack("=I", value)[0]

    def store_word(self, number, word):
        self.db.store(self.key("i", number), struct.pack("=I", word), tdb.REPLACE)

    def note(self, line):
        os.write(self.journal, line.encode())

    def check(self, number, value):
        if self.scene & CHECKED and not well_formed(number, value):
            raise AssertionError("a value that nobody stored: %d %r" % (number, value))

    def do_one(self, what, number, version):
        key = self.key(what, number)
        if what == "s":
            self.db.store(key, make_value(number, version), tdb.REPLACE)
        elif what == "m":
            old = self.db.get(key)
            if old is not None:
                self.check(number, old)
            flag = tdb.INSERT if old is None else tdb.MODIFY
            self.db.store(key, make_value(number, version), flag)
        elif what == "d":
            if key in self.db:
                self.db.delete(key)
        elif what == "a":
            self.db.append(key, struct.pack("=II", number, version | APPENDED))
        else:
            self.store_word(number, self.word_at(number) + 1)

    def batch(self, kind):
        first = self.random.randrange(KEYS)
        ops = []
        for i in range(self.random.randint(1, MAX_BATCH)):
            what = self.random.choice("ssmmdai")
            number = self.random.randrange(COUNTERS) if what == "i" else (first + i) % KEYS
            self.version += 1
            ops.append((what, number, self.version))
        text = "".join(" %s%d:%d" % op for op in ops)
        self.note("+ %s %d%s\n" % (kind, self.word_at(GENERATION), text))
        if kind != "p":
            self.db.transaction_start()
        for op in ops:
            locks = kind == "p" and op[0] in "mdi"
            if locks:
                self.db.lock_all()
            self.do_one(*op)
            if locks:
                self.db.unlock_all()
        if kind == "t":
            self.db.transaction_commit()
        elif kind == "c":
            self.db.transaction_cancel()
        self.note("= %d\n" % self.word_at(GENERATION))

    def wipe(self):
        self.note("+ w\n")
        self.db.transaction_start()
        generation = self.word_at(GENERATION)
        self.db.clear()
        self.store_word(GENERATION, generation + 1)
        self.db.transaction_commit()
        self.note("= w\n")

    def whole_database(self):
        choice = self.random.randrange(300)
        if choice == 0:
            self.wipe()
        elif choice < 9:
            self.db.repack()
        else:
            self.db.lock_all()
            self.db.unlock_all()

    def work(self):
        choice = self.random.randrange(100)
        if self.scene & TRANSACTIONS and (not self.scene & PLAIN or choice < 20):
            self.batch("c" if self.random.randrange(5) == 0 else "t")
        else:
            self.batch("p")
        if choice < 4 and self.scene & WHOLE:
            self.whole_database()

    def run(self):
        while not os.path.exists(self.stop):
            self.work()
        self.db.close()


Worker(*sys.argv[1:]).run()
