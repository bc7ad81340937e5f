"""The streams, as they must be: created with safe settings, brought in step on every start."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusRefused, BusUnavailable
from events.subjects import Names

STREAM_NOT_FOUND = 10059
KEEP_EVENTS = timedelta(days=30)
REMEMBERED = timedelta(minutes=2)  # for which a stream knows a message's id again; never longer than it keeps it
BURIED = timedelta(days=1)  # the same for dead letters: an agent may die before it says that the event is done
REMEMBERED_HISTORY = timedelta(days=1)
REMEMBERED_ACTS = timedelta(days=365)
MOST_ACTS = 100_000  # some 30 MB; counted, for what is bounded in bytes the server sets aside
HISTORY_BYTES = 64 * 1024 * 1024
ROLES = ("ledger", "polls", "dead", "replays", "attempts", "lanes", "routes", "tokens", "audit", "signals")
PASSING = 500  # codes from here on are the server's own trouble: no leader yet, still recovering


class NotYet(Exception):
    """The server cannot make its streams at this moment: try again."""


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that is there, and what for. In bytes; `limit` None for no limit. `made_at` in Unix seconds."""

    role: str
    name: str
    is_new: bool
    size: int
    limit: int | None
    made_at: float


class Storage(msgspec.Struct, frozen=True):
    """What our account stores on the server, in bytes, and what it may; None for no limit of its own."""

    used: int
    limit: int | None


def ledger(names: Names, replicas: int, max_bytes: int | None) -> dict[str, Any]:
    """Snapshots, events and heads. A full stream refuses instead of forgetting; nobody deletes single messages."""
    return {
        "name": names.ledger,
        "subjects": [f"{names.prefix}.snapshot.>", f"{names.prefix}.event.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "max_bytes": max_bytes or -1,
        "allow_atomic": True,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
        "allow_direct": True,
        "deny_delete": True,
    }


def polls(names: Names, replicas: int) -> dict[str, Any]:
    """The schedule: at most one waiting message per account and resource, and at most one tick.

    Without bounds, also where somebody has set one: the server would forget the oldest plans, and refuse none.
    """
    return {
        "name": names.polls,
        "subjects": [f"{names.prefix}.schedule.>", f"{names.prefix}.poll.>"],
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": replicas,
        "max_bytes": -1,
        "max_msgs": -1,
        "max_age": 0,
        "max_msgs_per_subject": 1,
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


def dead(names: Names, replicas: int) -> dict[str, Any]:
    """Dead letters, kept until a person replays or drops them."""
    return {
        "name": names.dead,
        "subjects": [f"{names.prefix}.dead.*"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "duplicate_window": _nanoseconds(BURIED),
        "allow_direct": True,
    }


def replays(names: Names, replicas: int) -> dict[str, Any]:
    """Events that a person asked to deliver again to one route; gone when delivered."""
    return {
        "name": names.replays,
        "subjects": [f"{names.prefix}.replay.*"],
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "allow_direct": True,
    }


def attempts(names: Names, replicas: int, keep: timedelta) -> dict[str, Any]:
    """What became of each attempt to deliver an event, for as long as events are kept.

    A server that syncs every write would sync each of them, at the cost of a delivery. So it is not asked to, where it has
    a way: a server that is killed may forget the attempts of its last moment.
    """
    unsynced = {"persist_mode": "async"} if replicas == 1 else {}
    return {
        **unsynced,
        "name": names.attempts,
        "subjects": [f"{names.prefix}.attempt.*.*"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "old",
        "max_age": _nanoseconds(keep),
        "duplicate_window": _nanoseconds(min(keep, REMEMBERED)),
        "allow_direct": True,
    }


def audit(names: Names, replicas: int) -> dict[str, Any]:
    """What people did, and from where; kept for a year, and nobody takes a line out."""
    return {
        "name": names.audit,
        "subjects": [names.audited],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "old",
        "max_age": _nanoseconds(REMEMBERED_ACTS),
        "max_msgs": MOST_ACTS,
        "deny_delete": True,
        "deny_purge": True,
        "allow_direct": True,
    }


def history(names: Names, replicas: int) -> dict[str, Any]:
    """What the console shows of the last day: a message a minute of each agent, and the last one of each other kind.

    It is for people to look at: small, never in the way of what matters, and the oldest goes where it is full.
    """
    unsynced = {"persist_mode": "async"} if replicas == 1 else {}
    return {
        **unsynced,
        "name": names.history,
        "subjects": [f"{names.prefix}.history.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "old",
        "max_age": _nanoseconds(REMEMBERED_HISTORY),
        "max_bytes": HISTORY_BYTES,
        "max_msgs_per_subject": 1,
        "allow_direct": True,
    }


def lanes(names: Names, replicas: int) -> dict[str, Any]:
    """The key-value bucket that keeps the order of records whose delivery waits for a retry."""
    return {
        "name": f"KV_{names.lanes_bucket}",
        "subjects": [f"$KV.{names.lanes_bucket}.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "max_msgs_per_subject": 1,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
        "deny_delete": True,
        "allow_direct": True,
    }


def routes(names: Names, replicas: int) -> dict[str, Any]:
    """The key-value bucket of how each route stands: whether it rests, when it last delivered."""
    return {
        "name": f"KV_{names.routes_bucket}",
        "subjects": [f"$KV.{names.routes_bucket}.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "max_msgs_per_subject": 1,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }


def tokens(names: Names, replicas: int) -> dict[str, Any]:
    """The key-value bucket of the accounts' tokens, encrypted, and of the claims to sign in, which are deleted one by one."""
    return {
        "name": f"KV_{names.tokens_bucket}",
        "subjects": [f"$KV.{names.tokens_bucket}.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "max_msgs_per_subject": 1,
        "allow_msg_ttl": True,
        "allow_direct": True,
    }


def signals(names: Names, replicas: int) -> dict[str, Any]:
    """The key-value bucket of what people tell running agents: pauses, intervals; and the claims to follow a hint."""
    return {
        "name": f"KV_{names.signals_bucket}",
        "subjects": [f"$KV.{names.signals_bucket}.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "max_msgs_per_subject": 1,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
        "allow_direct": True,
    }


async def ensure(
    bus: Bus, names: Names, *, replicas: int, max_bytes: int | None, keep_events: timedelta = KEEP_EVENTS
) -> list[Present]:
    """Create what is missing, mend what differs; all streams as they are then.

    Raises BusRefused with what to do where the server does not allow it, NotYet where it cannot at this moment.
    """
    found = []
    wanted = (
        ledger(names, replicas, max_bytes),
        polls(names, replicas),
        dead(names, replicas),
        replays(names, replicas),
        attempts(names, replicas, keep_events),
        lanes(names, replicas),
        routes(names, replicas),
        tokens(names, replicas),
        audit(names, replicas),
        signals(names, replicas),
    )
    for role, config in zip(ROLES, wanted, strict=True):
        try:
            found.append(await ensure_one(bus, role, config))
        except BusUnavailable as error:
            raise NotYet(str(error)) from None
        except ApiError as error:
            if error.code >= PASSING and "insufficient" not in error.description:
                raise NotYet(str(error)) from None
            raise BusRefused(
                f"the NATS server does not take the stream {config['name']} as it must be: {error.description}"
            ) from None
    return found


async def storage(bus: Bus) -> Storage:
    """How much our account stores, of all that is in it. Raises BusError."""
    info = await bus.api("INFO")
    return Storage(info["storage"], _limit(info["limits"]["max_storage"]))


async def ensure_one(bus: Bus, role: str, config: dict[str, Any]) -> Present:
    """Create a stream or mend it; how it is then. Raises BusError."""
    name = config["name"]
    try:
        info = await bus.api(f"STREAM.INFO.{name}")
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return _present(role, await bus.api(f"STREAM.CREATE.{name}", config), is_new=True)
    present = info["config"]
    wanted = _mended(config, present)
    if any(present.get(key) != value for key, value in wanted.items()):
        info = await bus.api(f"STREAM.UPDATE.{name}", {**present, **wanted})
    return _present(role, info, is_new=False)


def _present(role: str, info: Mapping[str, Any], *, is_new: bool) -> Present:
    config = info["config"]
    return Present(
        role=role,
        name=config["name"],
        is_new=is_new,
        size=info["state"]["bytes"],
        limit=_limit(config["max_bytes"]),
        made_at=datetime.fromisoformat(info["created"]).timestamp(),
    )


def _limit(most: int) -> int | None:
    return most if most > 0 else None


def _mended(config: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """What a stream that is there must be. It persists as it was made to, and asynchronously only without replicas."""
    wanted = {key: value for key, value in config.items() if key != "persist_mode"}
    return wanted | ({"num_replicas": 1} if present.get("persist_mode") == "async" else {})


def _nanoseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1000
