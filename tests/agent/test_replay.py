"""Past events delivered to a route again: what the command says first, what it hands over, and what arrives."""

import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.ledger import KEY
from events.jetstream.read import Last
from tests.agent.command import ROOT, Ran, here, started
from tests.agent.harness import NAMES, octorate, until, webhook, write_config
from tests.agent.past import SCOPE, handed_over, house, on_the_bus, publish, published
from tests.nats import NatsServer

Say = Callable[..., Ran]


@pytest.fixture
def say(nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command in a folder whose configuration has the route `crm`, of all properties."""
    route = webhook("crm", "http://127.0.0.1:1/hook") | {"events": ["property.*", "booking.created"]}
    account = octorate("hotel", "https://api.example.com")
    write_config(tmp_path, bus={"url": nats.url}, accounts=[account], routes=[route], name="vendorwire.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VENDORWIRE_CONFIG", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    return lambda *words: here(capsys, *words)


def keys(messages: list[Last]) -> list[str]:
    return [message.headers[KEY].rpartition("/")[2] for message in messages]


def test_a_dry_run_says_how_many_events_that_is_and_hands_over_none(nats: NatsServer, say: Say) -> None:
    publish(nats, house("a"), house("b"))
    publish(nats, house("a", "modified", 2))
    told = say("replay", "crm", "--since", "1h", "--dry-run")
    assert told.status == 0, told
    assert told.out.splitlines()[-4:-1] == ["change             events", "property.created   2", "property.modified  1"]
    assert re.search(r"^3 events of the route crm, published 2\S+ \S+ to 2\S+ \S+$", told.out, re.MULTILINE)
    assert handed_over(nats) == []


def test_what_is_handed_over_is_what_the_ledger_has(nats: NatsServer, say: Say) -> None:
    publish(nats, house("a"), house("b"))
    told = say("replay", "crm", "--since", "1h")
    assert (told.status, told.out.splitlines()[-1], told.err) == (0, "2 events handed to the route crm", "")
    again = handed_over(nats)
    assert [message.data for message in again] == [each.data for each in published(nats)]
    assert [message.headers[KEY] for message in again] == [f"{SCOPE}/a", f"{SCOPE}/b"]


def test_a_second_replay_is_handed_over_as_well(nats: NatsServer, say: Say) -> None:
    publish(nats, house("a"))
    for times in (1, 2):
        assert say("replay", "crm", "--since", "1h").status == 0
        assert keys(handed_over(nats)) == ["a"] * times


def test_only_the_events_of_the_time_and_the_changes_that_are_named_are_meant(nats: NatsServer, say: Say) -> None:
    publish(nats, house("early"))
    publish(nats, house("a"), house("b", "modified"), house("c", "deleted"))
    publish(nats, house("late"))
    times = [each.published_at for each in published(nats)]
    begin, end = (datetime.fromtimestamp(at, UTC).isoformat() for at in (times[1] - 1e-6, times[3] + 1e-6))
    assert say("replay", "crm", "--since", begin, "--until", end, "--events", "*.created, *.deleted").status == 0
    assert keys(handed_over(nats)) == ["a", "c"]
    assert say("replay", "crm", "--since", begin, "--events", "booking.*").out.startswith("no event of the route crm")


def test_for_programs_it_is_one_object(nats: NatsServer, say: Say) -> None:
    publish(nats, house("a"), house("b"))
    (line,) = say("replay", "crm", "--since", "2020-01-01T00:00:00Z", "--json").out.splitlines()
    told = json.loads(line)
    assert (told["route"], told["events"], told["handed_over"]) == ("crm", 2, 2)
    assert told["changes"] == {"property.created": 2}
    assert told["oldest_kept"] == told["first"] <= told["last"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("cmr", "--since", "1h"), "vendorwire: no route is named 'cmr'; there are: crm\n"),
        (
            ("crm", "--since", "1h", "--events", "enquiry.*"),
            "the route crm has none of these; it has property.*, booking",
        ),
        (("crm", "--since", "1h", "--events", "booking"), "'booking' is not <resource>.<change>"),
        (("crm", "--since", "1h", "--until", "2h"), "--until must be later than --since"),
        (
            ("crm", "--since", "yesterday"),
            "'yesterday' is no time: write 2h or 30d (so long ago), or a time with its zone",
        ),
        (("crm", "--since", "2026-05-20T08:00:00"), "is no time"),
        (("crm", "--since", "1h", "--rate", "0"), "a number of events a second, from 0.1"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(say: Say, words: tuple[str, ...], sentence: str) -> None:
    told = say("replay", *words)
    assert (told.status, told.out) == (2, "")
    assert sentence in told.err


def test_where_there_is_nothing_it_says_so(nats: NatsServer, say: Say) -> None:
    nothing = say("replay", "crm", "--since", "2026-05-20T08:00:00+02:00")
    assert (nothing.status, nothing.err) == (0, "")
    assert nothing.out == "no event of the route crm was published since 2026-05-20 06:00:00\n"


def test_what_is_too_old_to_be_there_is_told(nats: NatsServer, say: Say) -> None:
    publish(nats, house("a"))
    assert say("replay", "crm", "--since", "30d").out.startswith("the oldest event that is kept is of ")
    first = published(nats)[0].published_at
    since = datetime.fromtimestamp(first + 1e-6, UTC).isoformat()
    assert say("replay", "crm", "--since", since).out.startswith("no event of the route crm")


class Person(io.StringIO):
    """Somebody at a terminal who types this."""

    def isatty(self) -> bool:
        return True


def test_of_very_many_events_a_person_is_asked_first(
    nats: NatsServer, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(nats, *(house(str(number)) for number in range(1001)))
    words = ("replay", "crm", "--since", "1h", "--rate", "1000000")
    unasked = say(*words)
    assert (unasked.status, "more than 1000 events" in unasked.err, "`--yes` approves" in unasked.err) == (
        2,
        True,
        True,
    )
    monkeypatch.setattr("sys.stdin", Person("\n"))
    refused = say(*words)
    asked = "deliver 1001 events to the route crm again? [y/N] "
    assert (refused.status, refused.err) == (1, f"{asked}nothing was handed over\n")
    assert handed_over(nats) == []
    monkeypatch.setattr("sys.stdin", Person("y\n"))
    assert say(*words).out.splitlines()[-1] == "1001 events handed to the route crm"
    assert len(handed_over(nats)) == 1001


@pytest.mark.usefixtures("say")
def test_after_ctrl_c_it_goes_on_as_it_says(nats: NatsServer, say: Say, tmp_path: Path) -> None:
    publish(nats, *(house(str(number)) for number in range(100)), together=1)
    with started("replay", "crm", "--since", "1h", "--events", "*.created", "--rate", "40", cwd=tmp_path) as command:
        command.until(lambda text: "100 events of the route crm" in text)
        until_handed_over(nats, 10)
        ended = command.end()
    there = keys(handed_over(nats))
    assert ended.status == 1
    told = re.search(r"^(\d+) of 100 events were handed over; go on with: vendorwire (.*)$", ended.err, re.MULTILINE)
    assert told, ended
    assert int(told[1]) in {len(there) - 1, len(there)}  # one may have been on its way
    publish(nats, house("meanwhile"))
    assert say(*shlex.split(told[2])).status == 0
    again = keys(handed_over(nats))[len(there) :]
    assert {*there, *again} == {str(number) for number in range(100)}
    assert len(again) < 100


def until_handed_over(nats: NatsServer, count: int) -> None:
    async def work(bus: Bus) -> None:
        async def are_there() -> bool:
            return bool((await bus.api(f"STREAM.INFO.{NAMES.replays}"))["state"]["messages"] >= count)

        await until(are_there)

    on_the_bus(nats, work)


@pytest.mark.usefixtures("say")
def test_a_restart_of_the_bus_interrupts_it_and_none_is_lost_or_handed_over_twice(
    nats: NatsServer, tmp_path: Path
) -> None:
    publish(nats, *(house(str(number)) for number in range(100)))
    with started("replay", "crm", "--since", "1h", "--rate", "50", cwd=tmp_path) as command:
        until_handed_over(nats, 10)
        nats.restart()
        command.until(lambda text: "100 events handed to the route crm" in text)
    assert keys(handed_over(nats)) == [str(number) for number in range(100)]


def test_a_bus_that_takes_no_more_is_told_with_how_to_go_on(nats: NatsServer, say: Say) -> None:
    publish(nats, house("a"), house("b"), house("c"))

    async def make_full(bus: Bus) -> None:
        full = {**streams.replays(NAMES, 1), "max_msgs": 2}
        await bus.api(f"STREAM.UPDATE.{NAMES.replays}", full)

    on_the_bus(nats, make_full)
    told = say("replay", "crm", "--since", "1h", "--json")
    assert told.status == 1
    assert "the bus takes no more replays: maximum messages exceeded" in told.err
    assert "2 of 3 events were handed over; go on with: vendorwire replay crm --since 2" in told.err
    shown = json.loads(told.out)
    assert (shown["handed_over"], "go_on_since" in shown) == (2, True)


PEAK = """
import sys
from pathlib import Path
from agent.cli import main
status = main(sys.argv[1:])
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], file=sys.stderr)
sys.exit(status)
"""


def peak(folder: Path, *words: str) -> int:
    """MiB that a command has had at most."""
    command = [sys.executable, "-c", PEAK, *words]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    return int(done.stderr.splitlines()[-1]) // 1024


@pytest.mark.usefixtures("say")
def test_ten_thousand_events_take_no_more_memory_than_a_few(nats: NatsServer, tmp_path: Path) -> None:
    long = "x" * 4000
    publish(nats, *(house(str(number), name=long) for number in range(10_000)))
    first = published(nats)[400].published_at
    words = ("replay", "crm", "--since", "1h", "--rate", "1000000", "--yes")
    few = peak(tmp_path, *words, "--dry-run", "--until", datetime.fromtimestamp(first, UTC).isoformat())
    many = peak(tmp_path, *words)
    assert many - few < 12, (few, many)  # their bodies alone are 40 MB
