"""What the console's API answers: the structs that its OpenAPI document is made from.

A field without a value is left out, unless it says `| None` without a default. Times are UTC, lengths of time in seconds.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all answers share: fields at their default are left out."""


class Error(msgspec.Struct, frozen=True):
    """Why a request was refused, and what to do."""

    error: str


class Done(msgspec.Struct, frozen=True):
    """What an action has done, as a sentence."""

    done: str


class UnderWay(msgspec.Struct, frozen=True):
    """An action that takes longer than an answer may, as a sentence: it goes on, and must not be asked for again."""

    under_way: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """`needed`: reading needs the admin token here. `actions`: an admin token is configured, so that there are any."""

    needed: bool
    signed_in: bool
    may_act: bool
    csrf: str | None
    actions: bool


class Trouble(Answer, frozen=True, kw_only=True):
    """What is wrong, where, and what to do. `link` leads to a view of the page."""

    severity: Literal["bad", "warn"]
    what: str
    where: str
    do: str
    link: str


class Paused(Answer, frozen=True, kw_only=True):
    """Since when, until when (or until it is resumed) and by whom an account is paused."""

    since: datetime
    until: datetime | None = None
    by: str


class TokenView(Answer, frozen=True, kw_only=True):
    """The credentials of an account. `healthy` is null where no agent has told yet."""

    healthy: bool | None
    in_words: str
    expires_at: datetime | None = None


class ResourceView(Answer, frozen=True, kw_only=True):
    """One resource of an account. `spark` counts its polls by slots of 2 minutes, the newest last, `spark_failed` those that
    failed."""

    resource: str
    interval: float
    last_success: datetime | None = None
    age: float | None = None
    outcome: str | None = None
    said: str
    since: datetime | None = None
    next_poll: datetime | None = None
    polling: bool = msgspec.field(default_factory=lambda: False)
    records: int = msgspec.field(default_factory=int)
    held: int = msgspec.field(default_factory=int)
    quarantined: int = msgspec.field(default_factory=int)
    changes_last_hour: int = msgspec.field(default_factory=int)
    spark: list[int]
    spark_failed: list[int]


class AccountView(Answer, frozen=True, kw_only=True):
    """One account. `worst` is the one sentence to show of it; empty where all is well."""

    vendor: str
    account: str
    status: Literal["ok", "degraded"]
    reason: str | None = None
    worst: str
    stale: bool
    paused: Paused | None
    token: TokenView
    resources: list[ResourceView]


class RouteView(Answer, frozen=True, kw_only=True):
    """One route; `lag` and `success_rate` are of the last hour. `to`: its receiver's host, or its subject."""

    route: str
    to: str
    pending: int
    in_flight: int
    circuit: Literal["closed", "open", "stopped"]
    dead: int
    lag_p50: float | None = None
    lag_p99: float | None = None
    success_rate: float | None = None
    since: datetime | None = None
    last_success: datetime | None = None
    last_error: str | None = None


class StreamView(Answer, frozen=True, kw_only=True):
    """A stream of the bus. `limit` in bytes, where it has one."""

    stream: str
    bytes: int
    messages: int
    limit: int | None = None


class BusView(Answer, frozen=True, kw_only=True):
    """The bus as this agent knows it; `why` where it is not connected."""

    connected: bool
    server: str
    version: str
    streams: list[StreamView]
    why: str | None = None


class AgentView(Answer, frozen=True, kw_only=True):
    """An agent that has been heard lately."""

    agent: str
    host: str
    version: str
    roles: list[str]
    since: datetime
    seen: datetime


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Over all accounts and routes, whatever page was asked for."""

    accounts: int
    degraded: int
    stale: int
    paused: int
    routes: int
    events_last_hour: int
    records: int
    held: int
    quarantined: int
    pending: int
    dead: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The whole picture. `as_of`: when the bus was last heard; what is shown is not newer. `accounts_total`: how many accounts
    fit the question, of which `accounts` is a page, the worst first."""

    at: datetime
    as_of: datetime
    counts: Counts
    troubles: list[Trouble]
    accounts_total: int
    accounts: list[AccountView]
    routes: list[RouteView]
    bus: BusView
    agents: list[AgentView]


class Series(msgspec.Struct, frozen=True):
    """One line of a chart: a value a slot, null where there is none."""

    name: str
    values: list[float | None]


class HistoryView(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Charts: slots of `slot` seconds, the first of which begins at `from`."""

    slot: int
    from_: datetime
    series: list[Series]


class EventView(msgspec.Struct, frozen=True):
    """An event, by its number in the ledger. It is a CloudEvent; personal data in it is masked unless it was asked for."""

    seq: int
    event: dict[str, Any]


class Events(msgspec.Struct, frozen=True):
    """Newest first."""

    events: list[EventView]


class Tried(Answer, frozen=True, kw_only=True):
    """One attempt to deliver an event."""

    attempt: int
    outcome: str
    status: str
    seconds: float
    ended_at: datetime
    next_at: datetime | None
    replay: bool


class Buried(msgspec.Struct, frozen=True):
    """Why and when an event was given up on a route. `id` is the dead letter's."""

    id: str
    reason: str
    status: str
    attempts: int
    failed_at: datetime


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event on one route."""

    route: str
    state: str
    detail: str
    attempts: list[Tried]
    dead: Buried | None


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """An event and what became of it. `event` is null where it is gone."""

    id: str
    sequence: int | None
    published_at: datetime | None
    event: dict[str, Any] | None
    routes: list[Routed]


class Summary(Answer, frozen=True, kw_only=True):
    """The head of an event, without its data."""

    type: str
    vendor: str
    account: str
    subject: str
    time: datetime


class Letter(Answer, frozen=True, kw_only=True):
    """A dead letter. `id` is its number among the dead letters: an event may be dead on two routes."""

    id: str
    event_id: str
    route: str
    at: datetime
    attempts: int
    status: str
    reason: str
    record: str
    event: Summary | None = None


class Letters(msgspec.Struct, frozen=True):
    """Newest first; `total` counts all that fit."""

    total: int
    dead: list[Letter]


class WholeLetter(Letter, frozen=True, kw_only=True):
    """A dead letter with its event; `text` where that is none, and was asked to be revealed."""

    body: dict[str, Any] | None
    text: str | None = None


class Held(Answer, frozen=True, kw_only=True):
    """Deletes that wait for a person. `keys`: the first hundred."""

    vendor: str
    account: str
    resource: str
    part: str | None = None
    count: int
    keys: list[str]
    since: datetime | None = None


class Deletes(msgspec.Struct, frozen=True):
    """Resource by resource, part by part."""

    held: list[Held]


class UnreadView(Answer, frozen=True, kw_only=True):
    """A record that could not be read when it was last listed, at most a day ago. `path` names the place in it."""

    vendor: str
    account: str
    resource: str
    key: str
    path: str
    at: datetime


class Quarantine(msgspec.Struct, frozen=True):
    """Newest first."""

    records: list[UnreadView]


class Act(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """What somebody did, with the console or on the command line. `from`: the address, or the machine. `outcome` is `unknown`
    where the bus gave no answer: it may be in force."""

    at: datetime
    who: str
    from_: str
    act: str
    target: str
    detail: str
    outcome: Literal["done", "failed", "unknown"]


class Acts(msgspec.Struct, frozen=True):
    """Newest first."""

    acts: list[Act]
