"""The command line, where no bus is needed: help, faults, exit statuses, Ctrl-C."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path

import pytest

from agent.commands.failures import Failed, report
from events.signing import generate
from tests.agent.command import ROOT, here, started, vendorwire

COMMANDS = [
    "run",
    "demo",
    "init",
    "check",
    "poll",
    "authorize",
    "watch",
    "snapshot",
    "deletes",
    "pause",
    "resume",
    "rebaseline",
    "rewind",
    "interval",
    "audit",
    "dead",
    "replay",
    "routes",
    "explain",
    "sandbox",
    "schema",
    "secret",
]
ACTIONS = [("dead", action) for action in ("list", "show", "replay", "drop")] + [
    ("deletes", action) for action in ("list", "approve")
]
SECRETS = {
    "OCTORATE_ID": "an-id",
    "OCTORATE_SECRET": "canary-secret-of-octorate",
    "OCTORATE_REFRESH": "canary-refresh-of-octorate",
    "CRM_SECRET": generate(),
}
ACCOUNT = "{vendor: octorate, name: hotel, client_id: a, client_secret: canary-secret, refresh_token: canary-token%s}"
GOOD = f"accounts:\n  - {ACCOUNT % ''}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vendorwire.yaml").write_text(GOOD)
    return tmp_path


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(capsys, "--help")

    assert ran.status == 0
    assert [line.split()[0] for line in ran.out.splitlines() if line.startswith("    ") and line[4] != " "] == COMMANDS


@pytest.mark.parametrize("words", [*((command,) for command in COMMANDS), *ACTIONS])
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    ran = here(capsys, *words, "--help")

    assert ran.status == 0
    assert f"usage: vendorwire {' '.join(words)}" in ran.out
    assert "--config FILE" in ran.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "required: COMMAND"),
        (("nope",), "invalid choice: 'nope'"),
        (("dead",), "required: ACTION"),
        (("poll",), "required: ACCOUNT"),
        (("run", "--roles", "poll,sing"), "the roles are poll and route"),
        (("watch", "--since", "yesterday"), "'yesterday' is not a duration: write"),
        (("sandbox", "octorate", "--port", "70000"), "a port is a number up to 65535"),
        (("sandbox", "octorate", "--live", "nan"), "a number of seconds above 0"),
        (("check", "--log-level", "loud"), "invalid choice: 'loud'"),
        (("check", "--off"), "unrecognized arguments: --off"),
    ],
)
def test_wrong_words_are_told_with_status_2(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    ran = here(capsys, *words)

    assert (ran.status, ran.out) == (2, "")
    assert sentence in ran.err


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(capsys, "--version")

    assert (ran.status, ran.out, ran.err) == (0, f"vendorwire {version('vendorwire')}\n", "")


def test_help_imports_nothing_slow() -> None:
    probe = "import sys; from agent import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    probe += "slow = {'anyio', 'msgspec', 'nats', 'httpx', 'aiohttp', 'rich'} & set(sys.modules)\n"
    probe += "sys.exit(str(slow) if slow else 0)"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_init_writes_a_file_that_check_accepts(tmp_path: Path) -> None:
    written = vendorwire("init", cwd=tmp_path)
    checked = vendorwire("check", "--offline", cwd=tmp_path, env=SECRETS)

    assert (written.status, written.err) == (0, "")
    assert "then: vendorwire check" in written.out
    assert (checked.status, checked.out) == (0, "no faults: 1 account, 2 routes\n"), checked


def test_init_replaces_nothing_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")

    refused = vendorwire("init", "--config", "mine.yaml", cwd=tmp_path)
    assert (refused.status, file.read_text()) == (1, "mine")
    assert "mine.yaml is there already: `--force` replaces it" in refused.err

    forced = vendorwire("init", "--force", "--json", cwd=tmp_path, env={"VENDORWIRE_CONFIG": "mine.yaml"})
    assert json.loads(forced.out) == {"file": "mine.yaml"}
    assert file.read_text().startswith("# Vendorwire")


FAULTY = GOOD + "bus: {replicas: 2}\ngrace: soon\n"


def test_all_faults_are_told_at_once_with_file_line_and_path(folder: Path) -> None:
    (folder / "vendorwire.yaml").write_text(FAULTY)
    ran = vendorwire("check", "--offline", cwd=folder)

    first, second = ran.err.splitlines()
    assert (ran.status, ran.out) == (2, "")
    assert first.startswith("vendorwire.yaml:3: bus.replicas: must be 1, 3 or 5")
    assert second.startswith("vendorwire.yaml:4: grace: 'soon' is not a duration")


def test_faults_are_a_json_list_for_programs(folder: Path) -> None:
    (folder / "vendorwire.yaml").write_text(FAULTY)
    ran = vendorwire("--json", "check", cwd=folder)

    assert ran.status == 2
    assert [(fault["line"], fault["path"]) for fault in json.loads(ran.out)] == [(3, "bus.replicas"), (4, "grace")]


@pytest.mark.parametrize("words", [("run",), ("watch",), ("snapshot", "hotel", "booking"), ("routes",)])
def test_every_command_refuses_a_faulty_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VENDORWIRE_CONFIG", raising=False)
    ran = here(capsys, *words)

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        "vendorwire.yaml: there is no such file: `vendorwire init` writes one to start from, `--config` names another\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("poll", "motel"), "no account is named 'motel'; there are: hotel"),
        (("poll", "hotel", "rooms"), "the account hotel has no resource 'rooms'; there are: booking, property"),
        (("snapshot", "hotel", "rooms"), "has no resource 'rooms'; there are: booking, property, account"),
        (("deletes", "list", "motel"), "no account is named 'motel'; there are: hotel"),
        (("deletes", "approve", "hotel", "booking"), "nobody can be asked here: `--yes` approves"),
        (("watch", "bookings.*"), "there is no resource 'bookings'; there are"),
        (("watch", "booking"), "'booking' is not <resource>.<change>"),
        (("dead", "drop"), "name what to drop: ids"),
        (("dead", "replay"), "name what to replay: ids"),
        (("dead", "drop", "--route", "crm"), "--yes is needed to drop all dead letters of the route crm"),
        (("sandbox", "acme"), "there is no sandbox of 'acme'; there are: octorate, ipro, carbontrack, powerpro"),
    ],
)
def test_what_is_not_there_is_told_with_what_there_is(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ran = here(capsys, *words)

    assert (ran.status, ran.out) == (2, ""), ran
    assert ran.err.startswith("vendorwire: ")
    assert sentence in ran.err
    assert not (folder / "vendorwire-data").exists()


@pytest.mark.parametrize("where", ["before", "after"])
def test_options_stand_before_or_after_the_command(tmp_path: Path, where: str) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    options = ["--config", "mine.yaml", "--json", "--log-level", "debug"]
    words = [*options, "check", "--offline"] if where == "before" else ["check", "--offline", *options]

    ran = vendorwire(*words, cwd=tmp_path)

    assert (ran.status, ran.out) == (0, "[]\n"), ran


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_sandbox_well(tmp_path: Path, number: signal.Signals) -> None:
    with started("sandbox", "octorate", "--seed", "3", "--live", "0.05", cwd=tmp_path) as sandbox:
        shown = sandbox.until(lambda text: "what it holds" in text and len(text.splitlines()) > 7)
        url = shown.split()[3].rstrip(";")
        with urllib.request.urlopen(f"{url}/_sandbox/state") as reply:
            assert len(json.load(reply)["accommodations"]) == 2
        ended = sandbox.end(number)

    assert (ended.status, ended.err) == (0, ""), ended
    assert '"client_secret": "sandbox-secret-octorate"' in ended.out
    assert "booking " in ended.out.splitlines()[-1]


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with started("sandbox", "octorate", "--json", cwd=tmp_path) as sandbox:
        url = json.loads(sandbox.until(lambda text: text.endswith("\n")))["url"]
        second = vendorwire("sandbox", "octorate", "--port", url.rpartition(":")[2], cwd=tmp_path)

    assert second.status == 1
    assert second.err.startswith("vendorwire: ")
    assert second.err.count("\n") == 1, second


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agent.cli", "sandbox", "octorate", "--live", "0.02"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=tmp_path
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(10) == 0
        assert run.stderr.read() == b""


@pytest.mark.parametrize("level", ["debug", "error"])
def test_a_failure_nobody_foresaw_is_one_sentence_and_its_traceback_only_for_debugging(
    tmp_path: Path, level: str
) -> None:
    probe = (
        "import sys; from agent import log; from agent.commands import failures; from schemas.settings import Secret\n"
        "Secret('canary-secret').reveal()\n"
        "try: raise ExceptionGroup('', [KeyError('canary-secret\\x1b[2J')])\n"
        f"except Exception as error: sys.exit(failures.report(error, debug={level == 'debug'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.endswith("vendorwire: an unforeseen failure (KeyError): --log-level debug shows where\n")
    assert ("Traceback" in done.stderr) == (level == "debug")
    assert "canary" not in done.stderr
    assert "\x1b" not in done.stderr


def test_what_is_already_a_good_sentence_has_no_traceback_even_for_debugging(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for more, sentence in [
            (f"http: {{listen: '127.0.0.1:{port}'}}\n", f"vendorwire: cannot listen on 127.0.0.1:{port}: address"),
            (
                f"http: {{listen: '127.0.0.1:0'}}\nbus: {{data: {tmp_path}/file/data}}\n",
                "vendorwire: bus.data: cannot use",
            ),
            ("grace: soon\n", f"{tmp_path}/it.yaml:3: grace: 'soon' is not a duration"),
        ]:
            (tmp_path / "it.yaml").write_text(GOOD + more)
            ran = here(capsys, "--config", str(tmp_path / "it.yaml"), "run", "--log-level", "debug")
            assert "Traceback" not in ran.err, ran
            assert ran.err.splitlines()[-1].startswith(sentence), ran


def test_a_failure_nobody_foresaw_among_others_is_traced_too() -> None:
    error = ExceptionGroup("", [Failed("no"), KeyError("unforeseen")])
    stderr = io.StringIO()
    with redirect_stderr(stderr):
        assert report(error, debug=True) == 1

    assert "KeyError: 'unforeseen'" in stderr.getvalue()
    assert stderr.getvalue().endswith("vendorwire: no\n")
