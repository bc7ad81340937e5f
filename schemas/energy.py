"""Records of energy monitoring: devices, what they measure, and the customers they belong to."""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Self

import msgspec

from schemas.records import Record


class DeviceStatus(StrEnum):
    ONLINE = "online"
    OFFLINE = "offline"
    DEREGISTERED = "deregistered"


class Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A switch at a device. `enabled`: it may be switched; `on`: it is."""

    kind: str | None = None
    enabled: bool | None = None
    on: bool | None = None


class Device(Record, frozen=True, kw_only=True):
    """A device that reports by itself. No vendor says that one is offline: it is silent.

    `last_seen_at`: its newest sign of life. `since`: while it is offline, when it was heard last. `controls`: id → switch.
    """

    resource: ClassVar[str] = "device"
    volatile: ClassVar[frozenset[str]] = frozenset({"last_seen_at", "since"})
    by_entry: ClassVar[dict[str, str]] = {"controls": r"^controls\."}

    status: DeviceStatus
    distributor_id: str
    name: str | None = None
    since: datetime | None = None
    last_seen_at: datetime | None = None
    customer_reference: str | None = None
    timezone_id: int | None = None
    sensors: str | None = None
    measures: str | None = None
    firmware: str | None = None
    ip_address: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    has_inverter: bool | None = None
    controls: dict[str, Control] = {}  # noqa: RUF012 msgspec copies empty defaults

    @property
    def heard_at(self) -> datetime | None:
        return self.last_seen_at

    def differences(self, before: Self) -> dict[str, tuple[Any, Any]]:
        """Field by field, and control by control: `controls.1`."""
        found = super().differences(before)
        if found.pop("controls", None) is not None:
            ids = sorted(before.controls.keys() | self.controls.keys())
            sides = {f"controls.{id_}": (before.controls.get(id_), self.controls.get(id_)) for id_ in ids}
            found |= {name: (old, new) for name, (old, new) in sides.items() if old != new}
        return found


class Customer(Record, frozen=True, kw_only=True):
    """The customer of a distributor. Birth dates are never part of it."""

    resource: ClassVar[str] = "customer"

    given_name: str | None = None
    family_name: str | None = None
    user_name: str | None = None
    user_id: str | None = None
    account_number: str | None = None
    distributor_id: str | None = None
    email: str | None = None
    mobile: str | None = None
    phone: str | None = None
    work_contact: str | None = None
    location: str | None = None
    timezone_id: int | None = None
    metric_units: bool | None = None
    devices: tuple[str, ...] = ()


class Measured(Record, frozen=True, kw_only=True):
    """How far a device's measurements have been published; its id is the device's.

    `until`: the newest one. `seen`: those around it, in microseconds since 1970, so that none is published twice.
    """

    resource: ClassVar[str] = "measurement"

    until: datetime
    seen: tuple[int, ...] = ()

    @property
    def heard_at(self) -> datetime | None:
        return self.until


class Measurement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device measured at one moment, as numbers. The vendor does not document the units."""

    at: datetime
    power_usage: float | None = None
    generating: float | None = None
    power_exported: float | None = None
    power_usage_net: float | None = None
    power_exported_net: float | None = None
    power_factor1: float | None = None
    power_factor2: float | None = None
    power_factor3: float | None = None
    power_factor4: float | None = None
    power1: float | None = None
    power2: float | None = None
    power3: float | None = None
    power4: float | None = None
    power1n: float | None = None
    power2n: float | None = None
    power3n: float | None = None
    power4n: float | None = None
    power_vah1: float | None = None
    power_vah2: float | None = None
    power_vah3: float | None = None
    power_vah4: float | None = None
    temperature1: float | None = None
    temperature2: float | None = None
    temperature3: float | None = None
    temperature4: float | None = None
    temperature5: float | None = None
    temperature6: float | None = None
    temperature7: float | None = None
    temperature8: float | None = None
    irradiation: float | None = None
    battery_charge: float | None = None
    flow: float | None = None
    voltage: float | None = None
    signal_strength: float | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Measurements of one device, ascending: the `data` of `measurement.batch`. `from` and `to` are its first and last."""

    device: str
    from_: datetime
    to: datetime
    measurements: list[Measurement]
