"""The streams, as they must be: created with safe settings, brought in step on every start."""

from typing import Any

from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusRefused, BusUnavailable
from events.subjects import Names

STREAM_NOT_FOUND = 10059
PASSING = 500  # codes from here on are the server's own trouble: no leader yet, still recovering


class NotYet(Exception):
    """The server cannot make its streams at this moment: try again."""


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
    """The schedule: at most one waiting message per account and resource, and at most one tick."""
    return {
        "name": names.polls,
        "subjects": [f"{names.prefix}.schedule.>", f"{names.prefix}.poll.>"],
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": replicas,
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


async def ensure(bus: Bus, names: Names, *, replicas: int, max_bytes: int | None) -> list[str]:
    """Create what is missing, mend what differs; the names of the streams created.

    Raises BusRefused with what to do where the server does not allow it, NotYet where it cannot at this moment.
    """
    created = []
    wanted = [
        ledger(names, replicas, max_bytes),
        polls(names, replicas),
        dead(names, replicas),
        replays(names, replicas),
        lanes(names, replicas),
        tokens(names, replicas),
    ]
    for config in wanted:
        try:
            if await _ensure(bus, config):
                created.append(config["name"])
        except BusUnavailable as error:
            raise NotYet(str(error)) from None
        except ApiError as error:
            if error.code >= PASSING and "insufficient" not in error.description:
                raise NotYet(str(error)) from None
            raise BusRefused(
                f"the NATS server does not take the stream {config['name']} as it must be: {error.description}"
            ) from None
    return created


async def _ensure(bus: Bus, config: dict[str, Any]) -> bool:
    name = config["name"]
    try:
        present = (await bus.api(f"STREAM.INFO.{name}"))["config"]
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        await bus.api(f"STREAM.CREATE.{name}", config)
        return True
    if any(present.get(key) != value for key, value in config.items()):
        await bus.api(f"STREAM.UPDATE.{name}", {**present, **config})
    return False
