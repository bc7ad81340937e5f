"""The demo as a stranger meets it: a process that shows changes arriving as signed webhooks, and leaves nothing behind."""

import base64
import codecs
import fcntl
import hashlib
import hmac
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest
from standardwebhooks import Webhook

from agent import receiver
from agent.configfile import load
from agent.receiver import Receiver, is_signed
from events.signing import Signer, generate
from schemas.changes import CATALOGUE
from schemas.settings import Secret

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0  # seconds within which whatever a test waits for must have come
NOW = 1_780_000_000
BODY = b'{"id":"e1"}'


class Demo:
    """A running demo whose temporary folder is `folder`; what it writes is read as it comes."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: int, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.shown = ""
        self._output = output
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def errors(self) -> str:
        return (self.folder.parent / "stderr").read_text()

    def until(self, is_there: Callable[[str], bool]) -> str:
        """Read until what was shown fulfils a condition."""
        deadline = time.monotonic() + DEADLINE
        while not is_there(self.shown):
            assert time.monotonic() < deadline, self.shown + self.errors
            if select.select([self._output], [], [], 0.2)[0]:
                read = self._read()
                assert read, f"it ended early: {self.shown}{self.errors}"
        return self.shown

    def end(self, number: signal.Signals) -> int:
        """Send it a signal; its exit status once all it has to say is read."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        while self._read():
            pass
        return self.process.wait(DEADLINE)

    def _read(self) -> bytes:
        try:
            read = os.read(self._output, 65536)
        except OSError:  # a terminal nobody holds open any more
            return b""
        self.shown += self._decoder.decode(read)  # which may end in the middle of a letter
        return read


@contextmanager
def running(folder: Path, arguments: str = "", *, terminal: bool = False) -> Iterator[Demo]:
    code = f"import sys; from agent.demo import main; sys.exit(main({arguments}))"
    environment = {**os.environ, "TMPDIR": str(folder), "TERM": "xterm-256color", "NO_COLOR": "1"}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with (folder.parent / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=errors,
        )
    os.close(theirs)
    try:
        yield Demo(process, ours, folder)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def assert_nothing_stays_behind(folder: Path) -> None:
    told = set((folder.parent / "stderr").read_text().splitlines())
    assert told <= {"route fails"}  # the receiver is busy on purpose now and then
    assert list(folder.iterdir()) == []
    assert [process for process in psutil.process_iter() if _works_in(process, folder)] == []


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.cwd().startswith(str(folder))
    except psutil.Error:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_changes_arrive_as_webhooks_and_a_signal_ends_it_all(folder: Path, number: signal.Signals) -> None:
    with running(folder) as demo:
        demo.until(lambda shown: " delivery  crm " in shown and " delivery  energy " in shown)
        assert any(_works_in(process, folder) for process in psutil.process_iter())  # the server is there
        assert demo.end(number) == 0
    assert " change    carbontrack/solar-fleet " in demo.shown
    assert " vendor    device " in demo.shown
    assert "every signature verified" in demo.shown.splitlines()[-1]
    assert " delivered" in demo.shown.splitlines()[-2]
    assert_nothing_stays_behind(folder)


def test_it_ends_by_itself_after_the_time_given(folder: Path) -> None:
    with running(folder, "seconds=1") as demo:
        assert demo.wait() == 0
    assert_nothing_stays_behind(folder)


def test_it_can_be_ended_before_it_has_begun(folder: Path) -> None:
    with running(folder) as demo:
        deadline = time.monotonic() + DEADLINE
        while not list(folder.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert demo.end(signal.SIGINT) == 0
    assert_nothing_stays_behind(folder)


def test_for_a_program_each_fact_is_a_json_line(folder: Path) -> None:
    with running(folder, "json=True") as demo:
        demo.until(lambda shown: '"Delivered"' in shown)
        assert demo.end(signal.SIGTERM) == 0
    facts = [json.loads(line) for line in demo.shown.splitlines()]
    published = {fact["data"]["event_id"]: fact["data"]["scope"] for fact in facts if fact["fact"] == "Published"}
    delivered = next(fact for fact in facts if fact["fact"] == "Delivered")
    assert published[delivered["data"]["event_id"]]["vendor"] in CATALOGUE
    assert_nothing_stays_behind(folder)


def test_on_a_terminal_it_is_a_screen_whose_last_picture_stays(folder: Path) -> None:
    with running(folder, terminal=True) as demo:
        demo.until(lambda shown: "try 1 204" in shown)
        assert demo.end(signal.SIGINT) == 0
    during, after = demo.shown.split("\x1b[?1049l")  # leaves the alternate screen
    assert "\x1b[?1049h" in during
    lines = after.splitlines()
    assert any("carbontrack/solar" in line for line in lines)
    assert any("try 1 204" in line for line in lines)
    assert len(lines) < 24
    assert "\x1b[?25h" in demo.shown  # the cursor is back
    assert_nothing_stays_behind(folder)


def test_when_nobody_reads_it_any_more_it_ends(folder: Path) -> None:
    with running(folder) as demo:
        demo.until(lambda shown: "bus       connected" in shown)
        unread = os.open(os.devnull, os.O_RDONLY)
        os.dup2(unread, demo._output)
        os.close(unread)
        assert demo.process.wait(DEADLINE) != 0
    assert list(folder.iterdir()) == []
    assert "BrokenPipeError" in (folder.parent / "stderr").read_text()  # the command line knows what to do with it


def test_another_command_can_use_its_configuration(folder: Path) -> None:
    with running(folder) as demo:
        shown = demo.until(lambda shown: " watch\n" in shown)
        path = Path(shown.split(" --config ")[1].split(" watch\n")[0])
        config = load(path)
        assert config.bus.data == path.parent / "data"
        assert (config.bus.data / "server.json").exists()  # that is where a second process finds the server
        assert [account.name for account in config.accounts] == [
            "hotel-roma",
            "cottages",
            "solar-fleet",
            "college",
        ]


def headers(secret: str, body: bytes = BODY, at: int = NOW) -> dict[str, str]:
    return Signer([Secret(secret)]).headers("e1", at, body)


def test_the_receiver_takes_what_we_sign() -> None:
    secret = generate()
    assert is_signed(headers(secret), BODY, secret, NOW)


def test_the_receiver_takes_what_any_other_sender_signs() -> None:
    secret = generate()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    theirs = base64.b64encode(hmac.new(key, b"e1.%d." % NOW + BODY, hashlib.sha256).digest()).decode()
    signed = {"webhook-id": "e1", "webhook-timestamp": str(NOW), "webhook-signature": f"v1a,abc v1,{theirs}"}
    assert is_signed(signed, BODY, secret, NOW)


def test_the_receiver_and_the_reference_library_agree() -> None:
    secret, now = generate(), int(time.time())
    signed = headers(secret, at=now)
    Webhook(secret).verify(BODY, signed)
    assert is_signed(signed, BODY, secret, now)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1,not base64"},
        {"webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()},
        {"webhook-id": "e2"},
        {"webhook-timestamp": str(NOW - 1)},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-timestamp": "１"},
        {"webhook-id": "\udcff"},
        {"webhook-signature": "v1,é"},
    ],
    ids=str,
)
def test_the_receiver_refuses_what_was_tampered_with(change: dict[str, str]) -> None:
    secret = generate()
    assert not is_signed({**headers(secret), **change}, BODY, secret, NOW)


def test_the_receiver_refuses_another_body_another_secret_and_an_old_request() -> None:
    secret = generate()
    assert not is_signed(headers(secret), BODY + b" ", secret, NOW)
    assert not is_signed(headers(generate()), BODY, secret, NOW)
    assert not is_signed(headers(secret), BODY, secret, NOW + 301)


@pytest.mark.anyio
async def test_the_receiver_is_busy_now_and_then_and_counts() -> None:
    secret = generate()
    endpoint = Receiver(secret, lambda: NOW, busy_every=3)
    async with receiver.serve(endpoint) as url, aiohttp.ClientSession() as session:
        statuses = []
        for signed in (headers(secret), headers(secret), headers(secret), headers(secret), {}):
            async with session.post(url, data=BODY, headers=signed) as reply:
                statuses.append(reply.status)
    assert statuses == [204, 204, 503, 204, 401]
    assert str(endpoint) == "5 webhooks, 1 signatures refused, 1 answered 503 on purpose"
