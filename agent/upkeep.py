"""The agent's streams, looked after: brought in step, made anew where somebody deleted them, and how full they are is told."""

import logging
from collections.abc import Callable, Sequence

import anyio

from agent import config
from agent.pulse import Pulse
from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.errors import BusError
from events.subjects import Names
from schemas.facts import Fact, StorageState, StreamRemade, StreamState

LOOK_EVERY = 10.0  # seconds between two looks whether the streams are as they must be
LOOK_AGAIN = 1.0  # seconds, while they are not: readiness waits for it

log = logging.getLogger("vendorwire")


class Upkeep:
    """Of all streams of one installation. `trouble` says what is wrong with them, as of the last look."""

    def __init__(self, settings: config.Bus, names: Names, pulse: Pulse, tell: Callable[[Fact], None]) -> None:
        self._settings = settings
        self._names = names
        self._pulse = pulse
        self._tell = tell
        self.trouble = ""

    async def prepare(self, bus: Bus) -> None:
        """Make what there is none of, as on a new server. Raises as `streams.ensure` does."""
        await self._look(bus)

    async def run(self, bus: Bus) -> None:
        """Look, for ever; streams that somebody deletes are made anew, loudly: what they held is gone."""
        self._pulse.expect("streams", within=120)
        while True:
            await anyio.sleep(LOOK_AGAIN if self.trouble else LOOK_EVERY)
            self._pulse.beat("streams")
            trouble = ""
            try:
                for stream in await self._look(bus):
                    if stream.is_new:
                        self._tell(StreamRemade(stream=stream.role, name=stream.name))
            except (streams.NotYet, BusError) as error:
                trouble = f"the streams are not as they must be: {error}"
            if trouble and trouble != self.trouble and bus.connected:
                log.warning("%s", trouble)
            self.trouble = trouble

    async def _look(self, bus: Bus) -> Sequence[streams.Present]:
        found = await streams.ensure(
            bus,
            self._names,
            replicas=self._settings.replicas,
            max_bytes=self._settings.max_bytes,
            keep_events=self._settings.keep_events,
        )
        for each in found:
            self._tell(StreamState(stream=each.role, size=each.size, limit=each.limit, made_at=each.made_at))
        storage = await streams.storage(bus)
        self._tell(StorageState(used=storage.used, limit=storage.limit))
        return found
