"""Order per record on one route: an event waits while an earlier one of its record is not settled.

A lane exists for a record while any of its events is in hand or waiting. Pure, and safe over a restart when the caller
keeps three promises:

- every event the bus hands out passes through `arrive`, also one handed out again, and after each `Deliver` comes
  `settled`, `failed` or `rested`, or else `released`;
- `snapshot` is stored, where it changed, before the event is handed back to the bus, and after `settling` before it is
  acknowledged; `settled` is called once the bus has confirmed that;
- after a start the lanes are restored from the stored snapshots, and whatever may still be in another worker's hand is
  named with `doubt`: later events of its record wait until it comes back, or until it cannot come back any more, which
  `settled_up_to` may tell before its time.

An event is handed back for no longer than `arrive` says, and where nothing rests that is well below the patience with
which an absent one is waited for.

All times are Unix seconds, since they outlive the process.
"""

from bisect import bisect_left, insort

import msgspec

RECHECK = 0.2  # seconds until an event held by one in hand is looked at again, at least
PER_PLACE = 0.02  # seconds for each one before it in line: a thousand that wait must not keep the bus busy
LATEST = 30.0
ABSENCES = 3  # this often, `PATIENCE` seconds apart, only later events came: the first one is not coming any more
PATIENCE = 30.0
FARTHEST = 3600.0  # seconds ahead that a doubt can lie: beyond, the clock was set back


class Deliver(msgspec.Struct, frozen=True):
    """Now, as attempt number `attempt` (from 1)."""

    attempt: int


class Wait(msgspec.Struct, frozen=True):
    """Not yet: hand it back to the bus for so many seconds."""

    seconds: float


class _Failure(msgspec.Struct, frozen=True, array_like=True):
    attempts: int
    at: float
    wait: float

    def rest(self, now: float) -> float:
        """Seconds until it is due, below 0 since. A clock that was set back makes it due rather than late."""
        return self.at + self.wait - now if self.at <= now else 0.0


class _Lane(msgspec.Struct):
    events: list[int] = []  # not settled, ascending
    failures: dict[int, _Failure] = {}
    in_hand: int | None = None
    settling: bool = False  # the one in hand: it is not part of what must outlive the process
    doubts: dict[int, float] = {}  # perhaps in another worker's hand, and until when that can be
    unseen: set[int] = set()  # restored, and not handed out since
    unseen_until: float = 0.0  # one of those may be in another worker's hand, too
    absences: int = 0
    absent_at: float = 0.0


class _Saved(msgspec.Struct, array_like=True):
    events: list[int]
    failures: dict[int, _Failure]
    doubts: dict[int, float] = {}  # not in what older versions stored


class Lanes:
    """The lanes of one route."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._doubted: set[str] = set()  # records that may have doubts

    def __len__(self) -> int:
        return len(self._lanes)

    def arrive(self, key: str, seq: int, now: float) -> Deliver | Wait:
        """The bus hands out event `seq` of record `key`: deliver it, or hand it back."""
        lane = self._lanes.setdefault(key, _Lane())
        lane.doubts.pop(seq, None)
        lane.unseen.discard(seq)
        if seq not in lane.events:
            insort(lane.events, seq)
        if lane.in_hand is not None:
            return Wait(_turn(lane, seq))
        _settle_doubts(lane, now)
        if seq != lane.events[0]:
            _miss_first(lane, now)
        if seq != lane.events[0]:
            return Wait(max(_turn(lane, seq), _rest(lane, lane.events[0], now)))
        lane.absences = 0
        if (rest := _rest(lane, seq, now)) > 0:
            return Wait(rest)
        lane.in_hand = seq
        return Deliver(lane.failures[seq].attempts + 1 if seq in lane.failures else 1)

    def doubt(self, key: str, seq: int, until: float) -> None:
        """Event `seq` may be in another worker's hand: unless it comes back by `until`, it is settled.

        One that a snapshot vouches for is not settled by time alone, but it is not given up before then either.
        """
        lane = self._lanes.setdefault(key, _Lane())
        if seq in lane.unseen:
            lane.unseen_until = max(lane.unseen_until, until)
        elif seq in lane.doubts:
            lane.doubts[seq] = max(lane.doubts[seq], until)
        elif seq not in lane.events:
            insort(lane.events, seq)
            lane.doubts[seq] = until
            self._doubted.add(key)

    @property
    def has_doubts(self) -> bool:
        """Whether any event may be in another worker's hand."""
        return bool(self._doubted)

    def settled_up_to(self, seq: int) -> None:
        """The bus knows that all events up to there are settled: of those none is in another worker's hand."""
        for key in self._doubted:
            if (lane := self._lanes.get(key)) is not None:
                lane.doubts = {each: until if each > seq else 0.0 for each, until in lane.doubts.items()}

    def forget_doubts(self, now: float) -> None:
        """Drop the doubts whose time has passed, and the lanes that were there for them alone.

        One of which something has failed is left to `arrive`: what changes there must be stored.
        """
        for key in list(self._doubted):
            lane = self._lanes.get(key)
            if lane is not None and not lane.failures:
                _settle_doubts(lane, now)
                if not lane.events:
                    del self._lanes[key]
            if lane is None or not lane.doubts:
                self._doubted.discard(key)

    def failed(self, key: str, seq: int, now: float, wait: float) -> None:
        """An attempt failed; the next is due in `wait` seconds."""
        _put_off(self._lanes[key], seq, now, wait, attempts=1)

    def rested(self, key: str, seq: int, now: float, wait: float) -> None:
        """Put off for `wait` seconds through no fault of its own: its number of attempts stays."""
        _put_off(self._lanes[key], seq, now, wait, attempts=0)

    def hurry(self, before: float) -> None:
        """What failed before that time need not wait any longer: its receiver is well again."""
        for lane in self._lanes.values():
            for seq, failure in lane.failures.items():
                if failure.at < before:
                    wait = min(failure.wait, before - failure.at)
                    lane.failures[seq] = msgspec.structs.replace(failure, wait=wait)

    def settling(self, key: str, seq: int) -> None:
        """The event in hand is delivered or in the dead letters, which the bus is about to be told."""
        lane = self._lanes[key]
        lane.settling = lane.in_hand == seq

    def settled(self, key: str, seq: int) -> None:
        """The bus knows that the event is done with: the next of its record may go."""
        lane = self._lanes[key]
        _drop(lane, seq)
        _let_go(lane)
        if not lane.events:
            del self._lanes[key]

    def released(self, key: str, seq: int) -> None:
        """Out of hand, and what became of it is not known: it comes back, or has been settled. Harmless after either."""
        lane = self._lanes.get(key)
        if lane is not None and lane.in_hand == seq:
            _let_go(lane)

    def snapshot(self, key: str) -> bytes | None:
        """What must outlive the process; None for a record of which nothing has failed: what was stored can be deleted."""
        lane = self._lanes.get(key)
        if lane is None:
            return None
        events, failures = lane.events, lane.failures
        if lane.settling:
            events = [seq for seq in events if seq != lane.in_hand]
            failures = {seq: failure for seq, failure in failures.items() if seq != lane.in_hand}
        return msgspec.json.encode(_Saved(events, failures, lane.doubts)) if failures else None

    def restore(self, key: str, saved: bytes, *, settled_up_to: int = 0) -> None:
        """Take up a stored snapshot, before the first arrival. Raises msgspec.DecodeError for what is not one.

        Events up to `settled_up_to` are settled, as the bus knows: nothing of them is taken up.
        """
        state = msgspec.json.decode(saved, type=_Saved)
        events = [seq for seq in state.events if seq > settled_up_to]
        present = {*events}
        if not events:
            return
        doubts = {seq: until for seq, until in state.doubts.items() if seq in present}
        failures = {seq: failure for seq, failure in state.failures.items() if seq in present}
        self._lanes[key] = _Lane(events, failures, doubts=doubts, unseen=present - {*doubts})
        if doubts:
            self._doubted.add(key)


def _put_off(lane: _Lane, seq: int, now: float, wait: float, *, attempts: int) -> None:
    before = lane.failures[seq].attempts if seq in lane.failures else 0
    lane.failures[seq] = _Failure(before + attempts, now, wait)
    _let_go(lane)


def _let_go(lane: _Lane) -> None:
    lane.in_hand, lane.settling = None, False


def _turn(lane: _Lane, seq: int) -> float:
    """Seconds until an event that is held is looked at again."""
    return max(RECHECK, min(PER_PLACE * bisect_left(lane.events, seq), LATEST))


def _settle_doubts(lane: _Lane, now: float) -> None:
    """What has not come back by its time was settled by the worker that had it."""
    for seq in [seq for seq, until in lane.doubts.items() if not _is_ahead(until, now)]:
        del lane.doubts[seq]
        _drop(lane, seq)


def _miss_first(lane: _Lane, now: float) -> None:
    """Take the first in line off once it will not come: it aged out of the stream, or was settled as we crashed.

    Told by later events coming again and again without it, never by time alone: the bus may have been away. Those right
    behind it that have been missing for as long go with it.
    """
    first = lane.events[0]
    if first in lane.doubts or _rest(lane, first, now) > 0 or lane.absent_at <= now < lane.absent_at + PATIENCE:
        return
    lane.absences += 1
    lane.absent_at = now
    if lane.absences > ABSENCES and not _is_ahead(lane.unseen_until, now):
        _drop(lane, first)
        while _is_missing(lane, lane.events[0], now):
            _drop(lane, lane.events[0])
        lane.absences = 0


def _is_missing(lane: _Lane, seq: int, now: float) -> bool:
    """Whether an event could have come all the time in which the first did not, and has never come since the restart."""
    return seq in lane.unseen and (seq not in lane.failures or lane.failures[seq].rest(now) <= -ABSENCES * PATIENCE)


def _is_ahead(until: float, now: float) -> bool:
    return now < until <= now + FARTHEST


def _rest(lane: _Lane, seq: int, now: float) -> float:
    return lane.failures[seq].rest(now) if seq in lane.failures else 0.0


def _drop(lane: _Lane, seq: int) -> None:
    lane.events.remove(seq)
    lane.unseen.discard(seq)
    lane.failures.pop(seq, None)
