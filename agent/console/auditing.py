"""Who did what with the console: logged, and noted on the bus for all to read."""

import logging

from agent.console import shapes
from agent.console.door import Caller
from events.jetstream import audit
from events.jetstream.audit import Outcome
from events.jetstream.connection import Bus
from events.subjects import Names

log = logging.getLogger("vendorwire.console")


class Auditing:
    """What is done with one agent's console. `replicas`: of the stream it is noted in."""

    def __init__(self, names: Names, replicas: int) -> None:
        self._names = names
        self._replicas = replicas

    async def note(
        self, bus: Bus | None, caller: Caller, act: str, target: str, detail: str = "", outcome: Outcome = "done"
    ) -> None:
        """Raises nothing: what was done is done. The log has it in any case."""
        about = {"by": caller.who, "from": caller.where, "target": target, "detail": detail}
        log.info("the console was used: %s", act, extra=about)
        if bus is None:
            return
        try:
            await audit.record(
                bus,
                self._names,
                who=caller.who,
                where=caller.where,
                act=act,
                target=target,
                detail=detail,
                outcome=outcome,
                replicas=self._replicas,
            )
        except Exception as lost:  # noqa: BLE001 the log has it
            log.warning("the audit does not have it: %s", lost, extra=about)

    async def acts(self, bus: Bus, limit: int) -> shapes.Acts:
        """The newest first. Raises BusError."""
        found = await audit.acts(bus, self._names, limit=limit)
        return shapes.Acts(
            [
                shapes.Act(
                    at=each.at,
                    who=each.who,
                    from_=each.where,
                    act=each.act,
                    target=each.target,
                    detail=each.detail,
                    outcome=each.outcome,
                )
                for each in found
            ]
        )
