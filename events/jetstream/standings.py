"""How the routes stand, in a JetStream bucket: written by whoever works a route, read by all agents and commands."""

import msgspec

from events.circuit import Standing
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from events.jetstream.read import last
from events.jetstream.streams import STREAM_NOT_FOUND
from events.subjects import Names

_decoder = msgspec.json.Decoder(Standing)


class Standings:
    """The bucket. Its methods raise BusError."""

    def __init__(self, bus: Bus, names: Names) -> None:
        self._bus = bus
        self._names = names

    async def read(self, route: str) -> Standing | None:
        """None for a route of which nothing is known; so is what cannot be read."""
        try:
            found = await last(self._bus, f"KV_{self._names.routes_bucket}", self._names.standing(route))
        except ApiError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            return None
        try:
            return _decoder.decode(found.data) if found else None
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None

    async def write(self, route: str, standing: Standing) -> None:
        """Replace what is known of a route."""
        await self._bus.publish(self._names.standing(route), msgspec.json.encode(standing), {"Nats-Rollup": "sub"})
