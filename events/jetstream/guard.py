"""Ends the embedded NATS server when its agent is gone, however it went; ends itself when the server does.

Run as `python -I guard.py PIPE LOCK COMMAND…`: the read end of a pipe whose write end only the agent holds, and the
lock on the data folder, which the server inherits so that it is held exactly as long as there is a server.
Standard library only: this is a process of its own, and a small one.
"""

import os
import signal
import subprocess
import sys
import threading

_PATIENCE = 1.5  # seconds between SIGTERM and SIGKILL, which costs nothing: what was confirmed is on the disk


def main() -> None:
    pipe, lock, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _carry_on)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(lock,))  # noqa: S603 - the agent's own words
    threading.Thread(target=_follow, args=(server,), daemon=True).start()
    os.read(pipe, 1)  # nothing is ever written: this returns when the agent is gone
    server.terminate()
    try:
        server.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _follow(server: "subprocess.Popen[bytes]") -> None:
    server.wait()
    os._exit(0)


def _carry_on(*_: object) -> None:
    """A signal to the whole group is not for us. A handler, not SIG_IGN: that the server would inherit."""


if __name__ == "__main__":
    main()
