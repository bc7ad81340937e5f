"""The judge of the crash tests finds what it is there to find."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from schemas import envelope
from schemas.envelope import CloudEvent
from tests.agent.harness import Got
from tests.faults.oracle import Begun, judged, judged_deliveries
from tests.faults.worlds import carbontrack_world, octorate_world

NOW = datetime.now(UTC)
WORLD = octorate_world(seed=1)
KEY = next(iter(WORLD.truth()))
FIRST = dict(WORLD.truth()[KEY])
SECOND, LAST = FIRST | {"guests": FIRST["guests"] + 1}, FIRST | {"guests": FIRST["guests"] + 2}
WORLD.change(int(KEY), {"totalGuest": LAST["guests"]})
BEGUN = Begun(NOW, {KEY: FIRST})


def step(
    version: int,
    before: dict[str, Any] | None,
    after: dict[str, Any],
    *,
    id_: str = "",
    type_: str = "booking.modified",
    key: str = KEY,
) -> CloudEvent:
    changes = {
        name: {"before": before[name], "after": after[name]} for name in after if before and before[name] != after[name]
    }
    return CloudEvent(
        id=id_ or f"e{version}",
        source="/octorate/octorate",
        type=type_,
        subject=key,
        time=NOW,
        dataschema=f"urn:vendorwire:{type_}:1",
        vendor="octorate",
        account="octorate",
        version=version,
        observedat=NOW,
        pollid="p",
        data={"record": after, "changes": changes},
    )


WHOLE = [step(2, FIRST, SECOND), step(3, SECOND, LAST)]


@pytest.mark.parametrize(
    ("events", "faults"),
    [
        (WHOLE, (0, 0, 0, 0)),
        (WHOLE[:1], (1, 0, 0, 0)),  # the last change
        ([], (1, 0, 0, 0)),
        (WHOLE[1:], (0, 0, 1, 0)),  # a change in between
        ([*WHOLE, WHOLE[1]], (0, 1, 1, 0)),
        ([WHOLE[1], WHOLE[0]], (1, 0, 2, 0)),
        ([WHOLE[0], step(3, SECOND, SECOND), step(4, FIRST, LAST)], (0, 0, 1, 0)),  # from what had gone
        ([*WHOLE, step(1, None, LAST, id_="other", type_="booking.created", key="7")], (0, 0, 1, 0)),  # of a stranger
    ],
)
def test_what_a_stream_tells_wrongly_is_found(events: list[CloudEvent], faults: tuple[int, int, int, int]) -> None:
    assert judged(WORLD, "octorate", events, BEGUN, NOW).faults == faults


def batch(device: str, times: list[datetime], version: int) -> CloudEvent:
    told = step(version, None, {}, type_="measurement.batch", key=device, id_=f"{device}-{version}")
    data = {"device": device, "measurements": [{"at": at.isoformat()} for at in times]}
    return msgspec.structs.replace(told, account="carbontrack", data=data)


@pytest.mark.parametrize(
    ("changed", "faults"),
    [
        (lambda times: times, (0, 0, 0, 0)),
        (lambda times: times[1:], (1, 0, 0, 0)),
        (lambda times: times[:-1], (1, 0, 0, 0)),
        (lambda times: times[:2] + times[3:], (1, 0, 0, 0)),
        (lambda times: [*times[:3], times[2] + timedelta(milliseconds=1), *times[3:]], (0, 0, 1, 0)),  # never measured
        (lambda times: [*times, times[0]], (0, 1, 1, 0)),
    ],
)
def test_measurements_that_are_missing_invented_or_twice_are_found(
    changed: Any, faults: tuple[int, int, int, int]
) -> None:
    world = carbontrack_world(seed=1)
    [(id_, unit)] = world.sandbox.devices.items()  # type: ignore[attr-defined]
    ended = NOW + timedelta(seconds=20)
    events = [batch(id_, changed(unit.times(NOW, ended)), 2)]
    assert judged(world, "carbontrack", events, Begun(NOW, world.truth()), ended).faults == faults


def got(event: CloudEvent, attempt: int = 1) -> Got:
    return Got(
        {"webhook-id": event.id, "webhook-timestamp": "0", "vendorwire-attempt": str(attempt)}, envelope.encode(event)
    )


ONE, TWO = WHOLE


@pytest.mark.parametrize(
    ("came", "dead", "faults", "redelivered"),
    [
        ([got(ONE), got(TWO)], [], (0, 0, 0, 0), 0),
        ([got(ONE)], [], (1, 0, 0, 0), 0),
        ([got(ONE), got(TWO), got(ONE)], [], (0, 0, 0, 0), 1),
        ([got(TWO), got(ONE)], [], (0, 0, 0, 1), 0),
        ([got(ONE, attempt=9), got(TWO)], [], (1, 0, 0, 0), 0),  # not taken
        ([got(ONE, attempt=9), got(TWO)], [ONE.id], (0, 0, 0, 0), 0),
        ([got(ONE, attempt=9), got(TWO)], [ONE.id, ONE.id], (0, 1, 0, 0), 0),
    ],
)
def test_deliveries_that_are_missing_or_out_of_order_are_found(
    came: list[Got], dead: list[str], faults: tuple[int, int, int, int], redelivered: int
) -> None:
    verdict = judged_deliveries(came, lambda each: each.attempt < 9, dead, WHOLE)
    assert (verdict.faults, verdict.redelivered) == (faults, redelivered)
