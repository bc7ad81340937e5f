"""Accounts beside each other: one that fails holds up no other, and says once what is wrong with it."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest

from agent import configfile
from agent.config import Bus, Config, Http
from agent.health import Health
from agent.poller import Poller
from agent.tokens import TokenKeeper
from agent.watched import Watched
from connectors.api import Api
from connectors.budget import Pacer
from connectors.http import Sender
from connectors.octorate import Octorate
from connectors.sandbox.octorate import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, OctorateSandbox
from connectors.sandbox.serve import serve
from events.jetstream.schedule import Schedule
from events.ledger import MemoryLedger
from schemas.changes import Scope
from schemas.facts import Fact, Polled, PollOutcome, Published, TokenState
from schemas.settings import Budget, Duration, Secret
from tests.agent.harness import NAMES, Inside, events_on, hotel, inside, octorate, reading, until, write_config
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio


def account(name: str, vendor: str, kind: type[Octorate] = Octorate) -> Octorate:
    return kind(
        name=name,
        base_url=vendor,
        client_id=CLIENT_ID,
        client_secret=Secret(CLIENT_SECRET),
        refresh_token=Secret(REFRESH_TOKEN),
        every={"booking": Duration(seconds=1)},
        budget=Budget(requests=1_000_000, per=Duration(minutes=1)),
    )


def polls(agent: Inside, name: str) -> list[PollOutcome]:
    """How the polls of an account's bookings ended."""
    return [fact.outcome for fact in agent.told(Polled) if fact.scope == Scope("octorate", name, "booking")]


async def test_vendors_that_hang_or_refuse_do_not_slow_the_others(tmp_path: Path, nats: NatsServer) -> None:
    hangs, refuses, well = hotel(), hotel(), hotel()
    async with serve(hangs) as first, serve(refuses) as second, serve(well) as third:
        accounts = [octorate("hangs", first), octorate("refuses", second), octorate("well", third)]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts)
        async with inside(configfile.load(file)) as agent:
            hangs.fail(kind="hang", times=1000)
            refuses.revoke()
            before = len(polls(agent, "well"))
            await anyio.sleep(5)
            assert len(polls(agent, "well")) - before >= 4
            assert polls(agent, "refuses")[-1] is PollOutcome.UNAUTHORIZED


def has_failed(agent: Inside, times: int) -> bool:
    return polls(agent, "hotel").count(PollOutcome.UNAUTHORIZED) == times


class Broken(Octorate, frozen=True, kw_only=True, tag="octorate"):
    """A connector with a bug."""

    async def parts(self, api: Api, resource: str) -> Sequence[str]:
        raise RuntimeError("a bug")


async def test_a_bug_in_one_connector_does_not_stop_the_others(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(hotel()) as vendor:
        config = Config(
            bus=Bus(url=nats.url),
            http=Http(listen="127.0.0.1:0"),
            accounts=(account("broken", vendor, Broken), account("well", vendor)),
        )
        async with inside(config) as agent:
            await until(lambda: len(polls(agent, "well")) >= 3)
            assert set(polls(agent, "broken")) == {PollOutcome.UNREADABLE}
            await until(
                lambda: "degraded" in [told.change for told in agent.told(Published) if told.scope.account == "broken"]
            )
    assert "the poll of octorate/broken/booking failed in an unforeseen way" in caplog.text


async def test_refused_credentials_are_told_once_and_tried_once_a_minute(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    scope = Scope("octorate", "hotel", "booking")
    async with serve(sandbox) as vendor:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)])
        async with inside(configfile.load(file)) as agent, reading(nats.url) as bus:
            sandbox.revoke()
            await until(lambda: polls(agent, "hotel")[-1] is PollOutcome.UNAUTHORIZED)
            sandbox.seen.clear()
            for times in range(1, 4):
                await until(partial(Schedule(bus, NAMES).poll_now, scope))
                await until(partial(has_failed, agent, times + 1))
            assert [seen.path for seen in sandbox.seen] == []
            told = [event for event in await events_on(bus) if event.type.startswith("account.")]
            assert [(event.type, event.data["record"]["reason"]) for event in told] == [
                ("account.degraded", "unauthorized")
            ]
            assert agent.told(TokenState)[-1].healthy is False


class Story:
    """One account polled by hand, with a clock of its own."""

    def __init__(self, sandbox: OctorateSandbox, http: httpx.AsyncBaseTransport) -> None:
        self.now = 1000.0
        self.facts: list[Fact] = []
        self.ledger = MemoryLedger()
        connector = account("hotel", "https://vendor.example")
        tokens = TokenKeeper(
            connector, Sender(http).send, self.facts.append, rng=random.Random(1), clock=lambda: self.now
        )
        api = Api(connector, tokens, http, Pacer(connector.pace), lambda status, left: None)
        self._watched = Watched(connector=connector, api=api, first_sync="baseline", max_ratio=0.2, redact=())
        self._poller = Poller(self.ledger, _today, self.facts.append)
        self._health = Health(self.ledger, _today, self.facts.append)
        self._failures = 0

    async def poll(self) -> PollOutcome:
        ended = await self._poller.poll(self._watched, "booking")
        self._failures = 0 if ended.outcome.succeeded else self._failures + 1
        await self._health.note(self._watched, "booking", ended, self._failures)
        return ended.outcome

    @property
    def told(self) -> list[str]:
        """What was published about the account itself."""
        return [event.type for event in self.ledger.events if event.type.startswith("account.")]


def _today() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def told_by_hand(sandbox: OctorateSandbox) -> AsyncIterator[Story]:
    async with httpx.MockTransport(sandbox) as http:
        yield Story(sandbox, http)


async def test_an_account_recovers_by_itself_once_its_credentials_are_accepted_again() -> None:
    sandbox = hotel()
    async with told_by_hand(sandbox) as story:
        assert (await story.poll()).succeeded
        sandbox.revoke()
        for _ in range(3):
            assert await story.poll() is PollOutcome.UNAUTHORIZED
            story.now += 61
        sandbox.grant()
        assert (await story.poll()).succeeded
        assert story.told == ["account.degraded", "account.recovered"]


async def test_an_account_that_cannot_be_reached_is_degraded_only_when_that_lasts() -> None:
    sandbox = hotel()
    async with told_by_hand(sandbox) as story:
        await story.poll()
        sandbox.fail(status=500, times=2, match="/reservation/112696")
        sandbox.fail(status=500, times=2, match="/reservation/200100")
        for _ in range(3):
            await story.poll()
        assert story.told == []
        sandbox.fail(status=500, times=100, match="/reservation/")
        for _ in range(4):
            await story.poll()
        sandbox.heal()
        await story.poll()
        assert story.told == ["account.degraded", "account.recovered"]


async def test_many_accounts_of_a_vendor_that_hangs_leave_room_for_one_that_is_well(
    tmp_path: Path, nats: NatsServer
) -> None:
    hangs, well = hotel(), hotel()
    async with serve(hangs) as first, serve(well) as second:
        accounts = [*[octorate(f"hangs-{number}", first) for number in range(40)], octorate("well", second)]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts)
        async with inside(configfile.load(file)) as agent:
            hangs.fail(kind="hang", times=100_000)
            await anyio.sleep(4)  # each of them has a poll that hangs by then
            before = len(polls(agent, "well"))
            assert await until(lambda: len(polls(agent, "well")) >= before + 5) < 20
