"""Becomes a program that is confined like one in a hardened pod. To be started in a mount namespace of its own, as root:

    unshare --mount python confine.py ROOT SHOWN AT UID [NAME=VALUE…] PROGRAM [ARGUMENT…]

ROOT is all that it sees of the disk, read-only; SHOWN appears in it at AT, read-only too. It runs as user and group UID,
without capabilities and without a way to get any, and its environment is what is named and nothing else.
"""

import ctypes
import os
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
CAPABILITIES = 64


def main(root: str, shown: str, at: str, uid: int, words: list[str]) -> None:
    environment = dict(word.split("=", 1) for word in takewhile(lambda word: "=" in word, words))
    _mount("--bind", root, root)
    for place in (f"{root}/proc", f"{root}/dev", f"{root}{at}"):  # as container runtimes make them
        Path(place).mkdir(parents=True, exist_ok=True)
    _mount("-o", "remount,bind,ro", root)
    _mount("--bind", "/proc", f"{root}/proc")
    _mount("--bind", "-o", "ro", shown, root + at)
    _mount("-o", "remount,bind,ro", root + at)
    os.chroot(root)
    os.chdir("/")
    _leave_privileges(uid)
    command = words[len(environment) :]
    os.execve(command[0], command, environment)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _leave_privileges(uid: int) -> None:
    prctl = ctypes.CDLL(None).prctl
    for each in range(CAPABILITIES):
        prctl(PR_CAPBSET_DROP, each, 0, 0, 0)  # fails beyond the last that the kernel knows
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    assert prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


if __name__ == "__main__":
    _, root, shown, at, uid, *words = sys.argv
    main(root, shown, at, int(uid), words)
