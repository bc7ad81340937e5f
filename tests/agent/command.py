"""The real command: in a process of its own, or in this one, where it starts quicker."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent import cli

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0  # seconds within which whatever a test waits for must have come


class Ran:
    """How a command ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self) -> str:  # what pytest shows when a comparison fails
        return f"exit status {self.status}\nstdout: {self.out}\nstderr: {self.err}"


def vendorwire(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run it to its end."""
    done = subprocess.run(
        _command(words), cwd=cwd, env=_environment(env), capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def here(capsys: pytest.CaptureFixture[str], *words: str) -> Ran:
    """Run it to its end in this process; logging and signals are left as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    capsys.readouterr()
    try:
        status = cli.main(words)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for number, handler in signals.items():
            signal.signal(number, handler)
    shown = capsys.readouterr()
    return Ran(status, shown.out, shown.err)


class Running:
    """A command at work; what it writes goes to files, so that it never waits for a reader."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path, err: Path) -> None:
        self._process = process
        self._out = out
        self._err = err

    def until(self, there: Callable[[str], bool], *, err: bool = False, within: float = DEADLINE) -> str:
        """What it has written, once that is `there`. AssertionError where it does not come."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            text = (self._err if err else self._out).read_text()
            if there(text):
                return text
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"it never came:\nstdout: {self._out.read_text()}\nstderr: {self._err.read_text()}")

    def end(self, number: signal.Signals = signal.SIGINT) -> Ran:
        """Send a signal and wait for the end."""
        self._process.send_signal(number)
        status = self._process.wait(DEADLINE)
        return Ran(status, self._out.read_text(), self._err.read_text())


@contextmanager
def started(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run it beside the test; killed at the end where it still runs."""
    out, err = cwd / f"{words[0]}.out", cwd / f"{words[0]}.err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            _command(words), cwd=cwd, env=_environment(env), stdin=subprocess.DEVNULL, stdout=to_out, stderr=to_err
        )
    try:
        yield Running(process, out, err)
    finally:
        process.kill()
        process.wait()


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "agent.cli", *words]


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "VENDORWIRE_CONFIG"}
    return {**own, "PYTHONPATH": str(ROOT), "TZ": "UTC", **(more or {})}
