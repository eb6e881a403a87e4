# SPDX-License-Identifier: GPL-3.0-or-later
"""A process on python3-tdb, driven by lines as peer.c is: "COMMAND ARG ...", byte strings in hex
("-" is empty), each answered by "ok ..." or "err TDBCODE TEXT"."""

import os
import sys

import tdb


def unhex(text):
    return b"" if text == "-" else bytes.fromhex(text)


def to_hex(data):
    return data.hex() or "-"


def call(db, command, args):
    if command == "store":
        db.store(unhex(args[0]), unhex(args[1]), int(args[2]))
    elif command == "storev":
        db.storev(unhex(args[0]), [unhex(part) for part in args[1:]], tdb.REPLACE)
    elif command == "append":
        db.append(unhex(args[0]), unhex(args[1]))
    elif command == "delete":
        db.delete(unhex(args[0]))
    elif command == "tstart":
        db.transaction_start()
    elif command == "tprepare":
        db.transaction_prepare_commit()
    elif command == "tcommit":
        db.transaction_commit()
    elif command == "tcancel":
        db.transaction_cancel()
    elif command == "repack":
        db.repack()
    elif command == "wipe":
        db.clear()
    elif command == "seqnum":
        return str(db.seqnum)
    elif command == "records":
        return " ".join(to_hex(key) + "=" + to_hex(db.get(key)) for key in db)
    else:
        raise RuntimeError(-1, "unknown command")
    return ""


def main():
    db = None
    for line in sys.stdin:
        command, *args = line.split()
        try:
            if command == "open":
                db = tdb.Tdb(args[0], int(args[1]), int(args[2]), os.O_RDWR | os.O_CREAT, 0o600)
                said = ""
            else:
                said = call(db, command, args)
            print(("ok " + said).strip(), flush=True)
        except (OSError, RuntimeError) as error:
            print("err", *error.args, flush=True)


main()
