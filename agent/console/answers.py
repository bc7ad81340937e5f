"""What the console's API answers to whoever reads."""

from collections.abc import Callable
from datetime import UTC, datetime

from agent.config import Config
from agent.console import questions, shapes, stories
from agent.console.asking import Call
from agent.console.charts import Charts
from agent.console.overview import Next, Overviews
from agent.console.picture import Picture
from agent.console.refusing import Refused
from agent.console.watching import Watching
from events.history import Roll
from events.jetstream.connection import Bus
from events.jetstream.errors import BusError
from events.subjects import Names
from schemas.changes import Scope

KEYS = 100  # of held deletes that are listed
SOON = 2.0  # seconds within which the bus says what is planned, or it is left out


class Answers:
    """Those of one agent. `bus` gives the bus, or raises Refused while there is none."""

    def __init__(self, config: Config, names: Names, roll: Roll, bus: Callable[[], Bus]) -> None:
        self._config = config
        self._names = names
        self._bus = bus
        self.watching = Watching(config, names, roll)
        self._overviews = Overviews(config)
        self._charts = Charts(names, roll)

    async def overview(self, place: questions.Place) -> shapes.Overview:
        """The picture. While the bus is away, what was known last; Refused where nothing ever was."""
        bus = self._bus()
        picture = await self.watching.looked()
        if not picture.heard:
            raise Refused(503, "the bus is away, and nothing is known yet: see that the NATS server can be reached", 2)
        now = bus.now()
        _, connectors = self._overviews.page(picture, place, now)
        scopes = [Scope(each.vendor, each.name, resource) for each in connectors for resource in each.resources]
        return self._overviews.make(picture, place, await self._planned(bus, scopes), _bus_view(bus, picture), now)

    async def _planned(self, bus: Bus, scopes: list[Scope]) -> dict[Scope, Next]:
        try:
            return await stories.planned(bus, self._names, scopes, SOON)
        except BusError:
            return {}

    async def history(self, call: Call) -> shapes.HistoryView:
        return await self._charts.chart(self._bus(), call.query)

    async def events(self, call: Call) -> shapes.Events:
        return await stories.past_events(self._bus(), self._names, call.query)

    async def story(self, call: Call) -> shapes.Story:
        return await stories.story(self._bus(), self._config, call.word("id"), reveal=call.query.reveal)

    async def letters(self, call: Call) -> shapes.Letters:
        if not call.query.route.isprintable():
            raise Refused(400, "this is no route's name")
        return await stories.letters(self._bus(), self._names, call.query)

    async def letter(self, call: Call) -> shapes.WholeLetter:
        return await stories.whole_letter(self._bus(), self._names, call.word("id"), reveal=call.query.reveal)

    async def deletes(self, _: Call) -> shapes.Deletes:
        picture = await self._picture()
        found = []
        for scope, head in sorted(picture.heads.items()):
            for part, state in head.parts.items():
                if state.held:
                    keys = sorted(state.missing)
                    found.append(
                        shapes.Held(
                            vendor=scope.vendor,
                            account=scope.account,
                            resource=scope.resource,
                            part=part or None,
                            count=state.held,
                            keys=keys[:KEYS],
                            since=state.swept_at,
                        )
                    )
        return shapes.Deletes(found)

    async def quarantine(self, _: Call) -> shapes.Quarantine:
        picture = await self._picture()
        newest = sorted(picture.unread.values(), key=lambda each: each.at, reverse=True)
        return shapes.Quarantine(
            [
                shapes.UnreadView(
                    vendor=each.scope.vendor,
                    account=each.scope.account,
                    resource=each.scope.resource,
                    key=each.key,
                    path=each.path,
                    at=datetime.fromtimestamp(each.at, UTC),
                )
                for each in newest[:1000]
            ]
        )

    async def _picture(self) -> Picture:
        self._bus()
        picture = await self.watching.looked()
        if not picture.heard:
            raise Refused(503, "the bus is away, and nothing is known yet: see that the NATS server can be reached", 2)
        return picture


def _bus_view(bus: Bus, picture: Picture) -> shapes.BusView:
    server, version = bus.server if bus.connected else ("", "")
    return shapes.BusView(
        connected=bus.connected,
        server=server,
        version=version,
        streams=picture.streams,
        why=None if bus.connected else bus.trouble,
    )
