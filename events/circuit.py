"""When a route rests: while its receiver keeps failing, and for good once it has said that it is gone.

Pure. All times are Unix seconds, since a route's standing outlives the process and is read by others.
"""

from enum import StrEnum

import msgspec

FAILURES = 10  # in a row, after which a circuit opens,
SUSTAINED = 20.0  # seconds after the first of them at the earliest: a receiver that restarts is none that fails
FIRST_PROBE = 5.0  # seconds until a receiver is tried with one event
GROWTH = 1.5  # of the wait from one probe to the next
LONGEST_PROBE = 60.0  # seconds: a receiver that is back is noticed within a minute
LONGEST_ASKED = 3600.0  # seconds a receiver may ask a route to rest by `Retry-After`
CATCH_UP_FROM = 20.0  # deliveries a second after a rest,
CATCH_UP_DOUBLES = 2.0  # twice as many every so many seconds,
CATCH_UP_TO = 2000.0  # until there is no limit any more


class Position(StrEnum):
    """Closed: events go through. Open: one now and then. Stopped: none until a person resumes the route."""

    CLOSED = "closed"
    OPEN = "open"
    STOPPED = "stopped"


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a route stands, as all agents and commands know it. 0 is for a time that has not been.

    `since` is when it came to its position, `probe_at` when it is tried next; `wait` led there from the probe before.
    `well_since`: when its receiver was last found, or said, to be well again; what failed before need not wait any longer.
    `target` names the receiver in a way that tells it from another, and no more.
    """

    position: Position = Position.CLOSED
    since: float = 0.0
    probe_at: float = 0.0
    wait: float = 0.0
    well_since: float = 0.0
    last_success: float = 0.0
    last_error: str = ""
    last_error_at: float = 0.0
    target: str = ""


class Circuit:
    """One route's. `standing` is what is to be kept; the failures that lead to a rest are forgotten with the process."""

    def __init__(self, target: str) -> None:
        self.standing = Standing(target=target)
        self._failures = 0
        self._failing_since = 0.0
        self._catching_up_since = 0.0

    def restore(self, kept: Standing) -> None:
        """Take up what is known of the route. A rest that another receiver brought about is over."""
        if kept.target != self.standing.target:
            kept = Standing(last_success=kept.last_success, target=self.standing.target)
        self.standing = kept
        self._failures, self._failing_since = 0, 0.0

    def rests(self, now: float) -> bool:
        """Whether nothing may be sent. A clock that was set back lets a probe through rather than none."""
        standing = self.standing
        if standing.position is Position.OPEN:
            return standing.probe_at - standing.wait <= now < standing.probe_at
        return standing.position is Position.STOPPED

    def rate(self, now: float) -> float | None:
        """Deliveries a second after a rest, so that what has gathered does not come all at once; None for no limit."""
        if not self._catching_up_since:
            return None
        self._catching_up_since = min(self._catching_up_since, now)  # the clock was set back
        doubled = (now - self._catching_up_since) / CATCH_UP_DOUBLES
        rate: float = CATCH_UP_FROM * 2.0 ** min(doubled, 20.0)
        if rate > CATCH_UP_TO:
            self._catching_up_since = 0.0
            return None
        return rate

    def succeeded(self, now: float, started: float) -> bool:
        """A delivery was made that began at `started`. Whether the route has come out of its rest by it.

        One that was under way when the receiver said that it is gone is no word of another receiver.
        """
        position = self.standing.position
        closes = position is Position.OPEN or (position is Position.STOPPED and started >= self.standing.since)
        self._failures = 0
        if closes:
            self._catching_up_since = now
            self.standing = msgspec.structs.replace(
                self.standing,
                position=Position.CLOSED,
                since=now,
                probe_at=0.0,
                wait=0.0,
                well_since=now,
                last_success=now,
            )
        else:
            self.standing = msgspec.structs.replace(self.standing, last_success=now)
        return closes

    def failed(self, now: float, started: float, error: str, asked: float | None) -> bool:
        """An attempt that began at `started` has failed; `asked` is the receiver's `Retry-After` in seconds. Whether the route
        begins to rest, or goes on resting, by it."""
        self._failures += 1
        if self._failures == 1:
            self._failing_since = started
        standing = msgspec.structs.replace(self.standing, last_error=error, last_error_at=now)
        match standing.position:
            case Position.CLOSED:
                rests = self._failures >= FAILURES and now - self._failing_since >= SUSTAINED
                wait, since = FIRST_PROBE, now
            case Position.OPEN:
                rests = started >= standing.probe_at  # it was the probe, not what was under way before
                wait, since = min(max(standing.wait * GROWTH, FIRST_PROBE), LONGEST_PROBE), standing.since
            case Position.STOPPED:
                rests = False
        if rests:
            wait = max(wait, min(asked or 0.0, LONGEST_ASKED))
            standing = msgspec.structs.replace(
                standing, position=Position.OPEN, since=since, probe_at=now + wait, wait=wait
            )
        self.standing = standing
        return rests

    def stop(self, now: float, error: str) -> None:
        """The receiver is gone for good."""
        self.standing = msgspec.structs.replace(
            self.standing, position=Position.STOPPED, since=now, last_error=error, last_error_at=now
        )


def resumed(standing: Standing, now: float) -> Standing:
    """The same route, to be tried at once, with one event: it comes out of its rest by a delivery only."""
    if standing.position is Position.CLOSED:
        return standing
    return msgspec.structs.replace(standing, position=Position.OPEN, since=now, probe_at=now, wait=0.0, well_since=now)
