#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open a file over SMB with a chosen share mode, and hold it open.

smbclient cannot choose a share mode, so this small client of Debian's python3-samba does:

    smb_open.py CLIENT_CONF HOST SHARE USER PASSWORD FILE deny-all|deny-none [hold]

Prints `OPENED` and exits 0, or prints the name of the NT status (for example
`NT_STATUS_SHARING_VIOLATION`) and exits 1. With `hold` it keeps the file open until its standard
input ends, then closes it and prints `CLOSED`.
"""

import sys

from samba import NTSTATUSError, ntstatus
from samba.credentials import Credentials
from samba.samba3 import libsmb_samba_internal as libsmb
from samba.samba3 import param as s3param

SHARE_MODES = {
    "deny-all": 0,
    "deny-none": 1 | 2 | 4,  # FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SHARE_DELETE
}
READ_WRITE = 0x0001 | 0x0002  # FILE_READ_DATA, FILE_WRITE_DATA
OPEN_IF = 3  # open the file, create it when it does not exist


def status_name(code):
    for name in dir(ntstatus):
        if name.startswith("NT_STATUS_") and getattr(ntstatus, name) == code:
            return name
    return "0x%08x" % code


def main():
    if len(sys.argv) not in (8, 9):
        sys.exit(__doc__)
    conf, host, share, user, password, name, mode = sys.argv[1:8]
    lp = s3param.get_context()
    lp.load(conf)
    creds = Credentials()
    creds.guess(lp)
    creds.set_username(user)
    creds.set_password(password)
    try:
        conn = libsmb.Conn(host, share, lp=lp, creds=creds)
        fnum = conn.create(
            name,
            DesiredAccess=READ_WRITE,
            ShareAccess=SHARE_MODES[mode],
            CreateDisposition=OPEN_IF,
        )
    except NTSTATUSError as e:
        print(status_name(e.args[0] & 0xFFFFFFFF), flush=True)
        return 1
    print("OPENED", flush=True)
    if len(sys.argv) == 9:
        sys.stdin.read()
    conn.close(fnum)
    print("CLOSED", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
