"""The oracle: what the stream tells of each record, against what the vendor was and is.

Lost: the last event of a record is not the vendor's truth, or an event reached nobody. Doubled: an event is there twice. Broken:
a step does not start where the one before ended, has the wrong version, or tells of a record that no vendor has. Disordered:
a receiver got a record's events, each for the first time, in another order than they happened.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from connectors.sandbox.carbontrack import CarbontrackSandbox
from schemas.envelope import CloudEvent
from tests.agent.harness import Got
from tests.faults.worlds import Truth, Wire, World


class Verdict(msgspec.Struct, kw_only=True):
    """What is wrong with one account, and how much was looked at."""

    changes: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    broken: int = 0
    disordered: int = 0
    redelivered: int = 0  # the same id again: at least once is what is promised
    wrong: list[str] = []  # what is, in words

    @property
    def faults(self) -> tuple[int, int, int, int]:
        return self.lost, self.doubled, self.broken, self.disordered

    def __add__(self, other: "Verdict") -> "Verdict":
        sums = {name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        return Verdict(**sums)


class Begun(msgspec.Struct, frozen=True):
    """When all had been read once, in silence, and what there was."""

    at: datetime
    truth: Truth


def judged(world: World, account: str, events: Sequence[CloudEvent], begun: Begun, ended: datetime) -> Verdict:
    """All that was told of an account's records since the first sync, against what the vendor says now; of measurements,
    those made until it `ended`."""
    own = [event for event in events if event.account == account]
    stories: dict[str, list[CloudEvent]] = defaultdict(list)
    for event in own:
        if event.type.startswith(f"{world.record.resource}."):
            stories[event.subject].append(event)
    verdict = Verdict(events=len(own), doubled=len(own) - len({event.id for event in own}))
    for key, at_last in world.truth().items():
        _judge(world, stories.pop(key, []), begun.truth.get(key), at_last, verdict)
    verdict.broken += len(stories)
    if isinstance(world.sandbox, CarbontrackSandbox):
        verdict += measured(world.sandbox, own, begun.at, ended)
    return verdict


def _judge(world: World, story: Sequence[CloudEvent], at_first: Wire | None, at_last: Wire, verdict: Verdict) -> None:
    """One record's events, in the stream's order."""
    known, version = at_first, 0 if at_first is None else 1
    fields = set(at_last)  # what is known of a record first read in silence
    for event in story:
        record = event.data["record"]
        version += 1
        why = _contradiction(known, event, fields) if event.version == version else f"is not version {version}"
        if why:
            verdict.broken += 1
            verdict.wrong.append(f"{event.account} {event.type} {event.subject} version {event.version}: {why}")
        known = record
        fields = {*record, *event.data.get("changes", {})} - world.record.volatile - {*world.record.by_entry}
    verdict.lost += known is None or any(known.get(field) != value for field, value in at_last.items())


def _contradiction(known: Wire | None, event: CloudEvent, fields: Iterable[str]) -> str:
    """Where an event does not start where its forerunner ended: what it changes had that value, and the rest stayed as it was."""
    record, changes = event.data["record"], event.data.get("changes", {})
    if known is None:
        return "" if event.type.endswith(".created") else "the record was not there before"
    for field in fields:
        if "." in field:  # an entry of a mapping
            continue
        told = changes.get(field, {"before": record.get(field), "after": record.get(field)})
        if (told.get("before"), told.get("after")) != (known.get(field), record.get(field)):
            return f"{field} was {known.get(field)!r}, is {record.get(field)!r}, and is told as {changes.get(field)}"
    return ""


def measured(sandbox: CarbontrackSandbox, events: Iterable[CloudEvent], began: datetime, ended: datetime) -> Verdict:
    """Each measurement made between these times, once, and none that was not made."""
    told: dict[str, list[datetime]] = defaultdict(list)
    verdict = Verdict()
    for event in events:
        if event.type == "measurement.batch":
            times = [datetime.fromisoformat(each["at"]) for each in event.data["measurements"]]
            verdict.broken += times != sorted(set(times))
            told[event.data["device"]] += times
    for id_, unit in sandbox.devices.items():
        times = told.pop(id_, [])
        made = unit.times(max(began, unit.began), ended)
        verdict.changes += len(made)
        verdict.lost += len(set(made) - set(times))
        verdict.doubled += len(times) - len(set(times))
        verdict.broken += len(set(times) - set(unit.times(min(times, default=began), max(times, default=began))))
    verdict.broken += len(told)
    return verdict


def judged_deliveries(
    got: Sequence[Got], taken: Callable[[Got], bool], dead: Sequence[str], events: Sequence[CloudEvent]
) -> Verdict:
    """Every event was taken or is a dead letter, that only once, and came the first time in the order of its record."""
    ids = {event.id for event in events}
    buried = [id_ for id_ in dead if id_ in ids]
    seen: dict[str, int] = {}
    came: set[str] = set()
    delivered: Counter[str] = Counter()
    verdict = Verdict(doubled=len(buried) - len(set(buried)))
    for each in got:
        if each.id not in ids:
            continue
        delivered[each.id] += taken(each)
        if each.id not in came:
            came.add(each.id)
            record = f"{each.event.account} {each.event.type.partition('.')[0]} {each.key}"
            verdict.disordered += each.version < seen.get(record, 0)
            seen[record] = each.version
    verdict.lost = len(ids - {id_ for id_, times in delivered.items() if times} - set(buried))
    verdict.redelivered = sum(times - 1 for times in delivered.values() if times > 1)
    return verdict
