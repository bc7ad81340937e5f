"""What the console says of an account, a route, an agent: in which words, in which order, and at which cost."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.config import Config
from agent.console import judging
from agent.console.overview import Overviews
from agent.console.picture import Hour, Picture, RouteNow, TokenNow
from agent.console.questions import Place
from agent.console.shapes import BusView, Overview, Paused, StreamView
from events.circuit import Position, Standing
from events.history import LAGS, Alive, Deliveries, Minute, Outcome, Unread, lag_slot
from events.ledger import Head, Part
from schemas.changes import Scope
from schemas.records import Account, AccountStatus
from tests.agent.harness import webhook
from tests.console.desk import configured, roll_of

NOW = 1_800_000_000.0
BOOKING = Scope("octorate", "hotel", "booking")
HERE = BusView(connected=True, server="", version="", streams=[])


class Desk:
    """A picture that a test paints, and the overview of it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.picture = Picture(roll_of(config))
        self.picture.heard = NOW
        for scope in self.picture.hour.roll.scopes:
            self.read(scope, 5)
        for account in config.accounts:
            self.picture.tokens[account.name] = TokenNow(NOW + 3600, "")
        self.picture.agents["a"] = alive("a", NOW - 1)

    def read(self, scope: Scope, ago: float, **head: Any) -> None:
        at = datetime.fromtimestamp(NOW - ago, UTC)
        self.picture.heads[scope] = Head(at=at, records=3, **head)

    def show(self, place: Place = Place(), bus: BusView = HERE) -> Overview:  # noqa: B008 they never change
        return Overviews(self.config).make(self.picture, place, {}, bus, NOW)

    def troubles(self) -> list[str]:
        return [f"{each.severity} {each.where}: {each.what}" for each in self.show().troubles]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(configured(tmp_path, accounts=["hotel", "inn"], routes=[webhook("crm", "http://127.0.0.1:1/x")]))


def alive(name: str, seen: float, roles: tuple[str, ...] = ("poll", "route"), **more: Any) -> Alive:
    return Alive(agent=name, host="pod-1", version="1.0", roles=roles, since=NOW - 9999, seen=seen, **more)


def test_where_all_is_well_nothing_is_said(desk: Desk) -> None:
    shown = desk.show()
    assert shown.troubles == []
    assert [(each.account, each.worst, each.status) for each in shown.accounts] == [
        ("hotel", "", "ok"),
        ("inn", "", "ok"),
    ]
    assert shown.accounts[0].token.in_words == "accepted, for 60 min"
    assert shown.accounts[0].resources[0].said == "read 3 records; no change in the last hour"


def test_a_resource_that_is_older_than_three_intervals_is_stale_and_comes_first(desk: Desk) -> None:
    desk.read(Scope("octorate", "inn", "booking"), 3 * 1 + 62)
    assert desk.troubles() == ["bad inn booking: not read for 65 s"]
    shown = desk.show()
    assert [each.account for each in shown.accounts] == ["inn", "hotel"]
    assert (shown.counts.stale, shown.accounts[0].stale) == (1, True)


def test_one_that_is_being_read_anew_or_from_an_earlier_time_is_not_said_to_lack_an_agent(desk: Desk) -> None:
    told = ["warn hotel booking: is being read; it was last read to its end 5 min ago"]
    desk.read(
        BOOKING, 300, parts={"": Part(anew="silent")}
    )  # whole, and nothing differs: nothing is committed meanwhile
    assert desk.troubles() == told
    desk.read(BOOKING, 300)
    desk.picture.written[BOOKING] = NOW - 20  # by a commit on the way, or by whoever set it back
    assert desk.troubles() == told
    assert (desk.show().counts.stale, desk.show().accounts[0].account) == (0, "hotel")
    desk.picture.outcomes[BOOKING] = Outcome(at=NOW - 2, outcome="unavailable", detail="", since=NOW - 60)
    assert desk.troubles() == ["bad hotel booking: the vendor does not answer as it should; not read for 5 min"]
    del desk.picture.outcomes[BOOKING]
    desk.picture.agents["a"] = alive("a", NOW, roles=("route",))
    assert desk.troubles() == ["bad the agents: nobody polls", "bad hotel booking: not read for 5 min"]


def test_one_that_was_never_read_is_stale_only_once_an_agent_has_had_the_time(desk: Desk) -> None:
    del desk.picture.heads[BOOKING]
    assert desk.troubles() == ["bad hotel booking: has never been read to its end"]
    desk.picture.agents["a"] = msgspec.structs.replace(desk.picture.agents["a"], since=NOW - 5)
    assert desk.troubles() == []
    assert desk.show().accounts[0].resources[0].said == "not read yet"


def test_a_poll_that_failed_is_told_with_what_to_do_until_one_succeeds(desk: Desk) -> None:
    desk.picture.outcomes[BOOKING] = Outcome(at=NOW - 2, outcome="unauthorized", detail="answered 401", since=NOW - 60)
    desk.read(BOOKING, 70)
    (trouble,) = desk.show().troubles
    assert trouble.what == "the vendor refuses the credentials; not read for 70 s"
    assert "vendorwire authorize hotel" in trouble.do
    resource = desk.show().accounts[0].resources[0]
    assert (resource.outcome, resource.said) == ("unauthorized", "the vendor refuses the credentials: answered 401")
    assert resource.since == datetime.fromtimestamp(NOW - 60, UTC)
    desk.read(BOOKING, 1)
    assert desk.troubles() == []


@pytest.mark.parametrize(
    ("token", "healthy", "words"),
    [
        (None, None, "no agent has signed in yet"),
        (TokenNow(NOW + 9, "refused"), False, "the vendor refuses them"),
        (TokenNow(NOW + 9, "failed"), True, "could not be renewed; it is tried again"),
        (TokenNow(NOW - 9, "failed"), False, "could not be renewed; it is tried again"),
        (TokenNow(NOW - 9, ""), False, "have run out"),
        (TokenNow(0, ""), None, "each agent signs in for itself"),
        (TokenNow(NOW + 200_000, ""), True, "accepted, for 2 days"),
    ],
)
def test_credentials_are_told_in_words(desk: Desk, token: TokenNow | None, healthy: bool | None, words: str) -> None:
    desk.picture.tokens.pop("hotel")
    if token is not None:
        desk.picture.tokens["hotel"] = token
    (shown,) = desk.show(Place(q="hotel")).accounts
    assert (shown.token.healthy, shown.token.in_words) == (healthy, words)
    assert desk.troubles() == ([f"bad octorate hotel: the credentials: {words}"] if healthy is False else [])


def test_held_deletes_and_records_that_could_not_be_read_are_told(desk: Desk) -> None:
    desk.read(BOOKING, 1, parts={"": Part(held=12, missing=("1",))})
    desk.picture.take_unread(Unread(at=NOW, scope=BOOKING, path="$.x", key="7"))
    assert desk.troubles() == [
        "warn hotel booking: 12 deletes held: too much was missing at once",
        "warn hotel booking: 1 record could not be read",
    ]
    assert {each.link for each in desk.show().troubles} == {"#/deletes", "#/quarantine"}
    assert (desk.show().counts.held, desk.show().counts.quarantined) == (12, 1)


def test_a_degraded_account_is_shown_as_its_record_says(desk: Desk) -> None:
    desk.picture.accounts["inn"] = Account(id="inn", status=AccountStatus.DEGRADED, reason="forbidden")
    shown = desk.show().accounts[0]
    assert (shown.account, shown.status, shown.reason) == ("inn", "degraded", "forbidden")
    assert shown.worst == "the vendor refuses what is asked for"
    assert desk.troubles() == ["bad octorate inn: the vendor refuses what is asked for"]


def test_a_paused_account_is_not_stale(desk: Desk) -> None:
    desk.read(BOOKING, 9999)
    desk.picture.paused["hotel"] = Paused(since=datetime.fromtimestamp(NOW, UTC), by="session 1")
    assert desk.troubles() == []
    shown = desk.show(Place(state="paused"))
    assert [each.account for each in shown.accounts] == ["hotel"]
    assert (shown.accounts[0].paused is not None, shown.counts.paused) == (True, 1)


def test_an_interval_that_was_set_by_hand_is_what_age_is_held_against(desk: Desk) -> None:
    desk.read(BOOKING, 300)
    desk.picture.intervals[BOOKING] = 600.0
    assert desk.troubles() == []
    assert desk.show().accounts[0].resources[0].interval == 600.0


def test_a_route_that_rests_is_stopped_paused_or_has_dead_letters_says_so(desk: Desk) -> None:
    def route(position: Position, *, dead: int = 0, paused: bool = False) -> None:
        standing = Standing(position=position, since=NOW - 120, last_error="answered 503")
        now = RouteNow(standing=standing, waiting=2, in_hand=1, dead=dead, paused=paused)
        desk.picture.routes["crm"] = now

    route(Position.OPEN)
    assert desk.troubles() == ["bad route crm: rests since 2 min: answered 503"]
    assert (desk.show().routes[0].pending, desk.show().routes[0].in_flight) == (3, 1)
    route(Position.STOPPED)
    assert desk.troubles() == ["bad route crm: stopped: answered 503"]
    route(Position.CLOSED, dead=3, paused=True)
    assert desk.troubles() == [
        "bad route crm: somebody has paused its consumer on the server",
        "warn route crm: 3 dead letters: given up after the last attempt",
    ]


@pytest.mark.parametrize(
    ("used", "told"),
    [
        (80, None),
        (81, "warn {}: 81% full: it fills up"),
        (96, "bad {}: 96% full: polling stands still, or is about to"),
        (100, "bad {}: 100% full: polling stands still, or is about to"),
    ],
)
def test_a_stream_or_an_account_that_is_nearly_full_is_told_as_the_alerts_tell_it(
    desk: Desk, used: int, told: str | None
) -> None:
    desk.picture.streams = [
        StreamView(stream=name, bytes=used, messages=1, limit=100) for name in ("VENDORWIRE", "VENDORWIRE_HISTORY")
    ]
    assert desk.troubles() == ([told.format("stream VENDORWIRE")] if told else [])
    desk.picture.streams = [StreamView(stream="VENDORWIRE", bytes=10**9, messages=1)]
    desk.picture.storage = (used, 100)
    assert desk.troubles() == ([told.format("the NATS account")] if told else [])


def test_a_route_that_falls_behind_is_told_with_what_to_look_at(desk: Desk) -> None:
    def route(untouched: float | None, lag: float | None, position: Position = Position.CLOSED) -> list[str]:
        since = None if untouched is None else NOW - untouched
        desk.picture.routes["crm"] = RouteNow(
            standing=Standing(position=position, since=NOW, last_error="answered 503"),
            waiting=2_000_000,
            in_hand=0,
            dead=0,
            paused=False,
            untouched_since=since,
        )
        hour = desk.picture.hour = Hour(roll_of(desk.config))
        if lag is not None:
            lags = [0] * (len(LAGS) + 1)
            lags[lag_slot(lag)] = 9
            told = Deliveries(outcomes={"delivered": 9}, lags=lags)
            minute = Minute(agent="a", at=int(NOW) - 120, roll=hour.roll.digest, routes={"crm": told})
            hour.take(minute, NOW)
        return desk.troubles()

    late = route(1, 900)
    assert len(late) == 1
    assert re.fullmatch(
        r"bad route crm: behind: 2000000 events wait, half of them come more than \d+ min late", late[0]
    )
    assert route(700, None) == ["bad route crm: behind: 2000000 events wait, none was taken up for 12 min"]
    assert route(700, None, Position.OPEN) == ["bad route crm: rests since 0 s: answered 503"]
    for well in ((700, 1), (599, None), (None, 900), (None, None)):
        assert route(*well) == [], well


def test_an_agent_that_fell_silent_is_missed_and_one_that_ended_in_good_order_is_not(desk: Desk) -> None:
    desk.picture.agents["b"] = alive("b", NOW - 60)
    desk.picture.agents["c"] = alive("c", NOW - 60, gone=True)
    desk.picture.agents["d"] = alive("d", NOW - judging.FORGOTTEN - 1)
    assert desk.troubles() == ["warn agent b on pod-1: silent for 60 s"]
    assert {each.agent for each in desk.show().agents} == {"a", "b"}


def test_a_role_that_no_agent_has_is_told(desk: Desk) -> None:
    desk.picture.agents["a"] = alive("a", NOW, roles=("poll",))
    assert desk.troubles() == ["bad the agents: nobody delivers"]


def test_while_the_bus_is_away_no_agent_is_said_to_be_silent(desk: Desk) -> None:
    desk.picture.heard = NOW - 300
    desk.picture.agents["a"] = alive("a", NOW - 301)
    lost = BusView(connected=False, server="", version="", streams=[], why="no answer")
    assert [each.where for each in desk.show(bus=lost).troubles if each.where.startswith("agent")] == []


def test_a_lost_bus_comes_before_everything(desk: Desk) -> None:
    desk.read(BOOKING, 9999)
    shown = desk.show(bus=BusView(connected=False, server="", version="", streams=[], why="refused"))
    assert [each.where for each in shown.troubles] == ["the bus", "hotel booking"]


def test_a_page_has_what_fits_and_says_how_many_there_are(tmp_path: Path) -> None:
    desk = Desk(configured(tmp_path, accounts=[f"hotel-{number:02}" for number in range(40)]))
    shown = desk.show(Place(accounts="10,5", q="HOTEL-"))
    assert shown.accounts_total == 40
    assert [each.account for each in shown.accounts] == [f"hotel-{number}" for number in range(10, 15)]
    assert desk.show(Place(q="octorate/hotel-07")).accounts_total == 1
    assert desk.show(Place(state="bad")).accounts_total == 0


def test_very_many_troubles_are_counted_and_not_all_told(tmp_path: Path) -> None:
    desk = Desk(configured(tmp_path, accounts=[f"hotel-{number}" for number in range(judging.MOST + 7)]))
    for scope in desk.picture.heads:
        if scope.resource == "booking":
            desk.read(scope, 9999)
    told = desk.troubles()
    assert len(told) == judging.MOST + 1
    assert told[-1] == "bad other accounts: 7 more troubles"


def test_the_overview_of_ten_thousand_accounts_costs_a_few_looks_at_each(tmp_path: Path) -> None:
    """Held against what this machine needs for one look at each: nothing here is a number of seconds."""
    config = configured(tmp_path)
    (one,) = config.accounts
    accounts = tuple(msgspec.structs.replace(one, name=f"hotel-{number}") for number in range(10_000))
    desk = Desk(msgspec.structs.replace(config, accounts=accounts))
    overviews = Overviews(desk.config)
    looks = 0.0

    def whole() -> None:
        nonlocal looks
        looks += 10  # nothing is remembered from the look before
        made = overviews.make(desk.picture, Place(), {}, HERE, NOW + looks / 1000)
        desk.picture.version += 1
        overviews._judged_at = (-1, 0.0)
        assert (made.accounts_total, len(made.accounts)) == (10_000, 100)

    def one_look() -> None:
        for account in desk.config.accounts:
            for resource in account.resources:
                head = desk.picture.heads[Scope(account.vendor, account.name, resource)]
                assert head.at is not None
                account.interval(resource).total_seconds()

    ratio = best_of(whole) / best_of(one_look)
    assert ratio < 12, ratio


def best_of(work: Callable[[], None]) -> float:
    def once() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return min(once() for _ in range(4))
