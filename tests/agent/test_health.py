"""The health of an account is what all agents together know of it, not what one of them saw last."""

import pytest

from agent.health import Health
from agent.outcomes import Ended
from events.ledger import MemoryLedger
from schemas.facts import PollOutcome
from tests.polled import Desk

pytestmark = pytest.mark.anyio

WELL = Ended(outcome=PollOutcome.UNCHANGED)
REFUSED = Ended(outcome=PollOutcome.UNAUTHORIZED)


class Agents:
    """Two agents on one ledger."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.ledger = MemoryLedger()
        self.both = [Health(self.ledger, self.desk.clock, lambda _: None) for _ in range(2)]

    async def note(self, agent: int, ended: Ended, resource: str = "booking") -> None:
        await self.both[agent].note(self.desk.watched, resource, ended, 0 if ended.outcome.succeeded else 1)

    def kinds(self) -> list[str]:
        return [event.type for event in self.ledger.events]


async def test_what_one_agent_saw_fail_another_sees_recover() -> None:
    agents = Agents()
    await agents.note(0, WELL)
    await agents.note(1, REFUSED)
    await agents.note(0, WELL)
    assert agents.kinds() == ["account.degraded", "account.recovered"]


async def test_an_agent_whose_trouble_another_cleared_tells_of_it_again() -> None:
    agents = Agents()
    await agents.note(0, REFUSED)
    await agents.note(1, WELL)
    await agents.note(0, REFUSED)
    await agents.note(0, REFUSED)
    assert agents.kinds() == ["account.degraded", "account.recovered", "account.degraded"]


async def test_an_account_recovers_when_the_last_of_its_resources_does() -> None:
    agents = Agents()
    await agents.note(0, REFUSED, "booking")
    await agents.note(1, REFUSED, "property")
    await agents.note(0, WELL, "booking")
    assert agents.kinds() == ["account.degraded"]
    await agents.note(1, WELL, "property")
    assert agents.kinds() == ["account.degraded", "account.recovered"]
