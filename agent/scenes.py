"""What happens at the fake vendors during a demo: changes of chance, and between them what every demo is to show."""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from connectors.sandbox.every import Fake

BETWEEN = 3  # changes of chance between two scenes


def acts(fakes: Mapping[str, Fake], rng: random.Random) -> Iterator[str]:
    """Make one change after the other, for ever; each is told in a few words."""
    sandboxes = [fake.sandbox for fake in fakes.values()]
    silent = ""
    while True:
        for scene in range(4):
            match scene:
                case 0:
                    silent = _speaking(fakes["carbontrack"], rng)
                    fakes["carbontrack"].sandbox.controls()["silence"](silent)
                    yield f"device {silent} fell silent"
                case 1:
                    yield _withdrawn(fakes["powerpro"], rng)
                case 2:
                    yield _blocked(fakes["ipro"], rng)
                case _:
                    fakes["carbontrack"].sandbox.controls()["wake"](silent)
                    yield f"device {silent} woke"
            for _ in range(BETWEEN):
                yield rng.choice(sandboxes).step()


def _speaking(fake: Fake, rng: random.Random) -> str:
    known = [each for each in fake.sandbox.state()["devices"] if each["IsRegistered"]]
    speaking = [each for each in known if not each["silent"]]
    return str(rng.choice(speaking or known)["DeviceID"])


def _withdrawn(fake: Fake, rng: random.Random) -> str:
    active = [each["id"] for each in fake.sandbox.state()["enrolments"] if each["status"] == "active"]
    if not active:
        return fake.sandbox.step()
    id_ = rng.choice(active)
    fake.sandbox.controls()["withdraw"](id_)
    return f"enrolment {id_} withdrawn"


def _blocked(fake: Fake, rng: random.Random) -> str:
    place = rng.choice(fake.sandbox.state()["properties"])["Id"]
    first = datetime.now(UTC).date() + timedelta(days=rng.randrange(10, 300))
    fake.sandbox.controls()["block"](place, first, first + timedelta(days=rng.randrange(1, 5)))
    return f"property {place} blocked for some days"
