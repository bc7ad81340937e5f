"""What cannot be delivered becomes a dead letter, for a person to look at."""

import logging
import time
from collections.abc import Callable

from agent.parcels import Parcel
from events.jetstream.errors import BusError
from events.jetstream.outbox import DeadLetter, RouteQueue
from events.jetstream.pull import Message
from events.webhook import Answer

NO_GRAVE = 60.0  # seconds until a dead letter that could not be stored is tried again

log = logging.getLogger("vendorwire.delivering")


class Burying:
    """One route's. `warn` is told what keeps a letter from being stored. Its methods raise BusError: it comes again then."""

    def __init__(
        self, route: str, queue: RouteQueue, warn: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._route = route
        self._queue = queue
        self._warn = warn
        self._clock = clock

    async def bury(self, parcel: Parcel, attempt: int, answer: Answer) -> None:
        """An event whose last attempt ended so."""
        letter = DeadLetter(
            route=self._route,
            event=parcel.body,
            event_id=parcel.event.id,
            reason=said(answer),
            attempts=attempt,
            status=str(answer.status or ""),
            failed_at=self._clock(),
            record=parcel.record,
            source=_source(parcel.message),
        )
        await self._store(letter, parcel.message)

    async def bury_unreadable(self, message: Message) -> None:
        """What is no event comes from a stranger or a broken disk: nobody could be given it."""
        letter = DeadLetter(
            route=self._route,
            event=message.data,
            event_id=f"unreadable-{message.sequence}",
            reason="this is not an event",
            attempts=0,
            status="",
            failed_at=self._clock(),
            record=message.subject,
            source=_source(message),
        )
        await self._store(letter, message)
        log.warning("a dead letter that is no event", extra={"route": self._route, "subject": message.subject})
        await message.ack()

    async def _store(self, letter: DeadLetter, message: Message) -> None:
        try:
            await self._queue.bury(letter)
        except BusError as error:  # nothing is dropped for want of a place to keep it
            self._warn(f"a dead letter cannot be stored: {error}")
            await message.retry(NO_GRAVE)
            raise


def said(answer: Answer) -> str:
    """What went wrong, in words."""
    return answer.error or f"answered {answer.status}"


def _source(message: Message) -> str:
    """The message itself: its subject tells the event's stream from that of the replays."""
    return f"{message.subject}/{message.sequence}"
