"""What a route has in hand: an event as it is delivered, and where it stands in line."""

import msgspec

from events.jetstream.ledger import KEY
from events.jetstream.outbox import record_of
from events.jetstream.pull import Message
from events.subjects import Names
from schemas import envelope


class Parcel(msgspec.Struct, frozen=True):
    """An event in hand, and the bytes that are delivered. Events of one lane are delivered one after the other.

    `record` as `vendor/account/resource/key`. Replays have lanes of their own: they do not wait for what is live.
    """

    message: Message
    record: str
    lane: str
    event: envelope.CloudEvent
    body: bytes


class Parcels:
    """Makes one route's parcels. Where it is not `ordered`, each has a lane for itself."""

    def __init__(self, route: str, names: Names, *, ordered: bool) -> None:
        self._names = names
        self._replays = names.replay(route)
        self._ordered = ordered

    def of(self, message: Message) -> Parcel:
        """Raises ValueError or RecursionError for what is no event."""
        event, body = envelope.decode_sealed(message.data), message.data
        if message.subject == self._replays:
            event = msgspec.structs.replace(event, replay=True)
            record, body = message.headers.get(KEY, ""), envelope.encode(event)
            lane = f"replay/{record or event.id}"
        else:
            lane = record = record_of(message, self._names)
        return Parcel(message, record, lane if self._ordered else f"{lane}#{message.sequence}", event, body)
