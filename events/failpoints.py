"""Places between two steps of a poll or a delivery at which a test may end the process, as a power cut would.

`VENDORWIRE_FAILPOINT=commit.sent@ipro:3` ends it with SIGKILL the third time a poll of that vendor comes there; vendor and
number may be left out. Without the variable, which is read once, a place costs the call of an empty function.
"""

import os
import re
import signal
from collections.abc import Callable

VARIABLE = "VENDORWIRE_FAILPOINT"

POLL = (
    "poll.taken",  # the tick is in hand
    "poll.begun",  # its place in the schedule is held
    "poll.read",  # a page, or a window of a feed, was read
    "commit.begun",  # the changes are decided, nothing is sent
    "commit.rendered",  # all messages are made, and not all are sent
    "commit.sent",  # all messages are with the server, which has not answered
    "commit.stored",  # it has answered; the index does not know yet
    "poll.ended",  # all is committed, the account's health is not noted
    "poll.noted",  # the next poll is not planned
    "poll.planned",  # the next poll is planned, the tick is still in hand
    "poll.acked",
    "token.given",  # the vendor has given a token that is not stored
    "token.stored",
)
DELIVERY = (
    "delivery.begun",  # it is the event's turn
    "delivery.answered",  # the receiver has answered, which is not noted
    "delivery.waiting",  # that it failed is stored, the bus was not told to hand it out again
    "delivery.buried",  # the dead letter is stored, the event is not done with
    "delivery.acked",  # the bus knows that it is done with, its record's lane does not
)
NAMES = POLL + DELIVERY

_SPEC = re.compile(r"(?P<name>[a-z]+\.[a-z]+)(@(?P<vendor>[a-z]+))?(:(?P<turn>[1-9][0-9]*))?")


def _never(name: str, vendor: str = "") -> None:
    """Nothing is to fail."""


def armed(spec: str) -> Callable[[str, str], None]:
    """What is called at each place. Raises ValueError where the text names none."""
    found = _SPEC.fullmatch(spec)
    if found is None or found["name"] not in NAMES:
        raise ValueError(
            f"{VARIABLE} is NAME, NAME@VENDOR or NAME@VENDOR:TURN, where NAME is one of {', '.join(NAMES)}"
        )
    wanted, only, left = found["name"], found["vendor"], int(found["turn"] or 1)

    def reached(name: str, vendor: str = "") -> None:
        nonlocal left
        if name != wanted or (only and vendor != only):
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


reached: Callable[..., None] = armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _never
