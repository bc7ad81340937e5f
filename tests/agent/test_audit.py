"""Whatever is done by hand is noted: who, when, what, and how it ended. And the commands that tell agents something."""

import getpass
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import config as configured
from agent.commands import auditing
from agent.commands.failures import IN_DOUBT, Failed
from events.jetstream import audit, streams
from events.jetstream.errors import ApiError, BusError, BusUnavailable, NobodyListens
from tests.agent.command import Ran, here
from tests.agent.harness import NAMES, octorate, reading, webhook, write_config
from tests.nats import NatsServer

Say = Callable[..., Ran]

WHO = f"{getpass.getuser()}@{socket.gethostname()}"


@pytest.fixture
def say(tmp_path: Path, nats: NatsServer, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs commands with a configuration of two accounts and two routes, of which one of each have the same name."""
    accounts = [octorate(name, "http://127.0.0.1:1") for name in ("hotel", "inn")]
    routes = [webhook(name, "http://127.0.0.1:1/") for name in ("crm", "inn")]
    file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts, routes=routes)
    return lambda *words: here(capsys, *words, "--config", str(file))


def acts(say: Say) -> list[dict[str, str]]:
    ran = say("audit", "--json")
    assert ran.status == 0, ran
    return [json.loads(line) for line in ran.out.splitlines()]


def test_each_command_that_changes_something_is_noted_with_who_what_and_how_it_ended(say: Say) -> None:
    commands = [
        (("pause", "hotel", "--for", "2h"), 0, ("pause", "hotel", "done")),
        (("poll", "hotel", "booking"), 1, ("poll", "hotel booking", "failed")),
        (("resume", "hotel"), 0, ("resume", "hotel", "done")),
        (("poll", "hotel", "booking"), 0, ("poll", "hotel booking", "done")),
        (("interval", "hotel", "booking", "30s"), 0, ("interval", "hotel booking", "done")),
        (("interval", "hotel", "booking", "--reset"), 0, ("interval", "hotel booking", "done")),
        (("rebaseline", "hotel", "booking"), 1, ("rebaseline", "hotel booking", "failed")),
        (("rewind", "hotel", "property", "--to", "1h"), 1, ("rewind", "hotel property", "failed")),
        (("resume", "crm"), 0, ("resume", "crm", "done")),
        (("deletes", "approve", "hotel", "booking", "--yes"), 1, ("approve deletes", "hotel booking", "failed")),
        (("dead", "replay", "--route", "crm"), 0, ("replay dead letters", "crm", "done")),
        (("dead", "drop", "--route", "crm", "--yes"), 0, ("drop dead letters", "crm", "done")),
        (("authorize", "hotel", "--forget"), 0, ("forget token", "hotel", "done")),
    ]
    for words, status, _ in commands:
        ran = say(*words)
        assert ran.status == status, (words, ran)
    noted = acts(say)
    assert [(each["act"], each["target"], each["outcome"]) for each in noted] == [told for _, _, told in commands]
    assert {(each["who"], each["where"]) for each in noted} == {(WHO, "command line")}
    assert noted[1]["detail"] == "hotel is paused: `vendorwire resume hotel` first"
    assert noted[6]["detail"] == "octorate/hotel/booking was never read: its first poll is its baseline"
    table = say("audit").out.splitlines()
    assert len(table) == len(noted) + 1
    assert say("audit", "--since", "2020-01-01T00:00:00Z").out.splitlines() == table
    assert say("audit", "--since", "2099-01-01T00:00:00Z").out == "nothing was done by hand since then\n"


def test_commands_that_only_look_are_not_noted(say: Say) -> None:
    for words in (("routes",), ("deletes", "list"), ("dead", "list"), ("audit",)):
        assert say(*words).status == 0
    assert acts(say) == []


def test_a_name_that_an_account_and_a_route_have_is_asked_about(say: Say) -> None:
    assert say("pause", "inn").status == 0
    ran = say("resume", "inn")
    assert (ran.status, ran.err) == (
        2,
        "vendorwire: an account and a route are named 'inn': say `--account` or `--route`\n",
    )
    assert say("resume", "inn", "--account").out == "inn is polled again\n"
    assert say("resume", "inn", "--route").out == "inn does not rest: there is nothing to resume\n"
    assert say("resume", "inn", "--account").out == "inn is not paused: there is nothing to resume\n"


def test_a_name_that_neither_has_is_told_with_those_there_are(say: Say) -> None:
    ran = say("resume", "nobody")
    assert (ran.status, ran.err) == (
        2,
        "vendorwire: no account or route is named 'nobody'; there are accounts: hotel, inn; routes: crm, inn\n",
    )
    assert say("resume", "crm", "--account").err == (
        "vendorwire: no account is named 'crm'; there are accounts: hotel, inn\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pause", "nobody"), "no account is named 'nobody'; there are: hotel, inn"),
        (("pause", "hotel", "--for", "soon"), "'soon' is not a duration"),
        (("interval", "hotel", "booking"), "is required"),
        (("interval", "hotel", "room", "1m"), "no resource 'room'; there are: booking, property"),
        (("rewind", "hotel", "booking"), "--to"),
        (("authorize", "hotel", "--subscribe", "https://example.com"), "takes no hints: give it a hint_secret"),
        (("authorize", "hotel", "--subscribe", "http://example.com"), "an https address"),
        (("authorize", "hotel", "--subscribe", "https://user@example.com"), "an https address"),
    ],
)
def test_what_does_not_fit_is_wrong_usage_and_says_why(say: Say, words: tuple[str, ...], said: str) -> None:
    ran = say(*words)
    assert ran.status == 2
    assert said in ran.err


def test_json_tells_what_was_done(say: Say) -> None:
    ran = say("pause", "hotel", "--json")
    assert json.loads(ran.out) == {
        "act": "pause",
        "target": "hotel",
        "done": "hotel is paused until `vendorwire resume hotel`",
    }


def test_whoever_has_no_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert auditing.operator().startswith("uid ")


@pytest.mark.anyio
async def test_the_last_acts_come_newest_first_and_nobody_takes_one_out(nats: NatsServer) -> None:
    async with reading(nats.url) as bus:
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        for number in range(5):
            await audit.record(bus, NAMES, who="me", where="here", act=f"act {number}", target="it")
        await bus.publish(NAMES.audited, b"a stranger's")
        found = await audit.acts(bus, NAMES, limit=3)
        assert [act.act for act in found] == ["act 4", "act 3"]
        assert found[0].outcome == "done"
        for refused in ("MSG.DELETE", "PURGE"):
            with pytest.raises(ApiError):
                await bus.api(f"STREAM.{refused}.{NAMES.audit}", {"seq": 1})
        config = (await bus.api(f"STREAM.INFO.{NAMES.audit}"))["config"]
        assert (config["max_age"], config["discard"]) == (365 * 86400 * 10**9, "old")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BusUnavailable("no answer"), "unknown"),
        (NobodyListens("no leader"), "failed"),
        (ApiError(400, 1, "no"), "failed"),
    ],
)
async def test_what_the_bus_did_not_answer_is_noted_and_told_as_not_known(
    nats: NatsServer, error: BusError, outcome: str
) -> None:
    async with reading(nats.url) as bus:
        with pytest.raises(Failed if outcome == "unknown" else type(error)) as told:
            async with auditing.audited(bus, configured.Bus(), "pause", "hotel"):
                raise error
        (act,) = await audit.acts(bus, NAMES)
    assert (act.act, act.outcome, act.detail) == ("pause", outcome, str(told.value))
    assert (IN_DOUBT in act.detail) == (outcome == "unknown")
