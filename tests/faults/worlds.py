"""Fake vendors that keep changing, and the truth they hold: one of each vendor, told in the words of our records."""

import random
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import msgspec

from connectors.sandbox import carbontrack, ipro, octorate, powerpro
from connectors.sandbox.base import Sandbox
from schemas.energy import Device
from schemas.records import Booking, Record
from schemas.training import Course

Wire = dict[str, Any]
Truth = dict[str, Wire]  # key → our field → value

MOST = 40  # records: no more are added


class World(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor with one account. `counted` grows with every change, so that no change can hide another; `label` comes back.

    `held` are the vendor's records of `record`'s kind, `key` their id there; `fields` says theirs → ours.
    """

    vendor: str
    record: type[Record]
    sandbox: Sandbox
    account: Wire
    held: Callable[[], Iterable[Wire]]
    key: str
    fields: dict[str, str]
    counted: str
    label: str
    change: Callable[[Any, Wire], object]
    add: Callable[[], object]
    verb: Callable[[Any], object]

    @property
    def polled(self) -> list[str]:
        """The resources that are polled often."""
        return [self.record.resource, *(["measurement"] if self.vendor == "carbontrack" else [])]

    def configured(self, name: str, url: str, every: str = "1s") -> Wire:
        """The account as it is configured, behind a port."""
        own = {**self.account, "base_url": url + self.account.get("base_url", "")}
        return {
            "vendor": self.vendor,
            "name": name,
            "every": dict.fromkeys(self.polled, every),
            "budget": {"requests": 10**6, "per": "1m"},
            **own,
        }

    def truth(self) -> Truth:
        """What the vendor says now."""
        return {
            str(each[self.key]): {
                ours: None if each[theirs] == "" else each[theirs] for theirs, ours in self.fields.items()
            }
            for each in self.held()
        }

    def step(self, rng: random.Random) -> None:
        """One change."""
        known = list(self.held())
        one = rng.choice(known)
        match rng.randrange(12):
            case 0 if len(known) < MOST:
                self.add()
            case 1:
                self.change(one[self.key], {self.label: f"Label {rng.randrange(100)}"})
            case 2:
                self.verb(one[self.key])
            case _:
                self.change(one[self.key], {self.counted: _next(one[self.counted])})


def _next(value: Any) -> Any:
    """A value that this field never had: one more, also at the end of a text."""
    if isinstance(value, int):
        return value + 1
    return re.sub(r"[0-9]+$", lambda digits: str(int(digits[0]) + 1), value)


def octorate_world(seed: int = 5) -> World:
    sandbox = octorate.OctorateSandbox(seed=seed, limit=10**9)
    return World(
        vendor="octorate",
        record=Booking,
        sandbox=sandbox,
        account={
            "client_id": octorate.CLIENT_ID,
            "client_secret": octorate.CLIENT_SECRET,
            "refresh_token": octorate.REFRESH_TOKEN,
        },
        held=lambda: sandbox.reservations.values(),
        key="id",
        fields={"totalGuest": "guests", "roomName": "room_name"},
        counted="totalGuest",
        label="roomName",
        change=sandbox.change,
        add=lambda: sandbox.add("112696", {"totalGuest": 1}),
        verb=sandbox.check_in,
    )


def ipro_world(seed: int = 5) -> World:
    sandbox = ipro.IproSandbox(seed=seed)
    return World(
        vendor="ipro",
        record=Booking,
        sandbox=sandbox,
        account={"client_id": ipro.CLIENT_ID, "client_secret": ipro.CLIENT_SECRET},
        held=lambda: sandbox.bookings.values(),
        key="BookingId",
        fields={"Children": "children", "GuestNotes": "notes"},
        counted="Children",
        label="GuestNotes",
        change=sandbox.change,
        add=lambda: sandbox.add(7858, {"GuestNotes": "None so far"}),
        verb=sandbox.cancel,
    )


def carbontrack_world(seed: int = 5, reporting: timedelta = timedelta(seconds=2)) -> World:
    sandbox = carbontrack.CarbontrackSandbox(seed=seed, customers=0, reporting=reporting)
    return World(
        vendor="carbontrack",
        record=Device,
        sandbox=sandbox,
        account={"username": carbontrack.USERNAME, "password": carbontrack.PASSWORD},
        held=lambda: [unit.shown for unit in sandbox.devices.values()],
        key="DeviceID",
        fields={"CustomerRef": "customer_reference", "DeviceName": "name"},
        counted="CustomerRef",
        label="DeviceName",
        change=sandbox.change_device,
        add=sandbox.add_device,
        verb=sandbox.switch,
    )


def powerpro_world(seed: int = 5) -> World:
    sandbox = powerpro.PowerProSandbox(seed=seed, noise=False)
    return World(
        vendor="powerpro",
        record=Course,
        sandbox=sandbox,
        account={"api_key": powerpro.API_KEY},
        held=lambda: sandbox.courses.values(),
        key="id",
        fields={"capacity": "capacity", "trainer": "trainer"},
        counted="capacity",
        label="trainer",
        change=sandbox.change_course,
        add=sandbox.add_course,
        verb=sandbox.cancel_course,
    )


WORLDS: dict[str, Callable[[], World]] = {
    "octorate": octorate_world,
    "ipro": ipro_world,
    "carbontrack": carbontrack_world,
    "powerpro": powerpro_world,
}
