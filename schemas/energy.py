"""Records of energy monitoring: devices, what they measure, and the customers they belong to."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

import msgspec

from schemas.meaning import says
from schemas.records import Record

UNKNOWN = "not documented by the vendor"


class DeviceStatus(StrEnum):
    ONLINE = "online"
    OFFLINE = "offline"
    DEREGISTERED = "deregistered"


class Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A switch at a device. `enabled`: it may be switched; `on`: it is."""

    kind: Annotated[str | None, says("What it switches, such as HotWater.")] = None
    enabled: Annotated[bool | None, says("Whether it may be switched.")] = None
    on: Annotated[bool | None, says("Whether it is on.")] = None


class Device(Record, frozen=True, kw_only=True):
    """A device that reports by itself. No vendor says that one is offline: it is silent.

    `last_seen_at`: its newest sign of life. `since`: while it is offline, when it was heard last. `controls`: id → switch.
    """

    resource: ClassVar[str] = "device"
    volatile: ClassVar[frozenset[str]] = frozenset({"last_seen_at", "since"})
    by_entry: ClassVar[dict[str, str]] = {"controls": r"^controls\."}
    personal: ClassVar[frozenset[str]] = frozenset(
        {"name", "customer_reference", "ip_address", "latitude", "longitude"}
    )

    status: Annotated[DeviceStatus, says("Whether it is heard. No vendor says so: it is found from its silence.")]
    distributor_id: Annotated[str, says("Whose device it is, by the distributor's id.")]
    name: Annotated[str | None, says("What it is called.")] = None
    since: Annotated[datetime | None, says("While it is offline: when it was heard last. Alone it makes no event.")] = (
        None
    )
    last_seen_at: Annotated[datetime | None, says("Its newest sign of life. Alone it makes no event.")] = None
    customer_reference: Annotated[str | None, says("The distributor's own number of the customer.")] = None
    timezone_id: Annotated[int | None, says("The vendor's number of its time zone.")] = None
    sensors: Annotated[str | None, says("What is connected, in the vendor's words.")] = None
    measures: Annotated[str | None, says("What it measures, in the vendor's words.")] = None
    firmware: Annotated[str | None, says("Version of its software.")] = None
    ip_address: Annotated[str | None, says("Its address as the vendor saw it.")] = None
    latitude: Annotated[float | None, says("North is positive.", "degrees")] = None
    longitude: Annotated[float | None, says("East is positive.", "degrees")] = None
    has_inverter: Annotated[bool | None, says("Whether a solar inverter is connected.")] = None
    controls: Annotated[dict[str, Control], says("Control's id → switch.")] = {}  # noqa: RUF012 msgspec copies empty defaults

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
    personal: ClassVar[frozenset[str]] = frozenset(
        {"given_name", "family_name", "user_name", "account_number", "email"}
        | {"mobile", "phone", "work_contact", "location"}
    )

    given_name: Annotated[str | None, says("First name.")] = None
    family_name: Annotated[str | None, says("Last name.")] = None
    user_name: Annotated[str | None, says("The name they sign in with.")] = None
    user_id: Annotated[str | None, says("Their user, by the vendor's id.")] = None
    account_number: Annotated[str | None, says("Their number at the distributor.")] = None
    distributor_id: Annotated[str | None, says("Whose customer they are, by the distributor's id.")] = None
    email: Annotated[str | None, says("E-mail address.")] = None
    mobile: Annotated[str | None, says("Mobile telephone.")] = None
    phone: Annotated[str | None, says("Telephone by day.")] = None
    work_contact: Annotated[str | None, says("Telephone at work.")] = None
    location: Annotated[str | None, says("Where they are, in the vendor's words.")] = None
    timezone_id: Annotated[int | None, says("The vendor's number of their time zone.")] = None
    metric_units: Annotated[bool | None, says("Whether they want metric units.")] = None
    devices: Annotated[tuple[str, ...], says("The ids of their devices, sorted.")] = ()


class Measured(Record, frozen=True, kw_only=True):
    """How far a device's measurements have been published; its id is the device's.

    `until`: the newest one. `seen`: those around it, in microseconds since 1970, so that none is published twice.
    """

    resource: ClassVar[str] = "measurement"

    until: Annotated[datetime, says("The newest measurement published.")]
    seen: Annotated[tuple[int, ...], says("The moments around it.", "microseconds since 1970")] = ()

    @property
    def heard_at(self) -> datetime | None:
        return self.until


class Measurement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device measured at one moment, as numbers. The vendor does not document the units."""

    at: Annotated[datetime, says("When it was measured.")]
    power_usage: Annotated[float | None, says("Power used.", UNKNOWN)] = None
    generating: Annotated[float | None, says("Power generated.", UNKNOWN)] = None
    power_exported: Annotated[float | None, says("Power given to the grid.", UNKNOWN)] = None
    power_usage_net: Annotated[float | None, says("Power used, net.", UNKNOWN)] = None
    power_exported_net: Annotated[float | None, says("Power given to the grid, net.", UNKNOWN)] = None
    power_factor1: Annotated[float | None, says("Power factor of channel 1.", UNKNOWN)] = None
    power_factor2: Annotated[float | None, says("Power factor of channel 2.", UNKNOWN)] = None
    power_factor3: Annotated[float | None, says("Power factor of channel 3.", UNKNOWN)] = None
    power_factor4: Annotated[float | None, says("Power factor of channel 4.", UNKNOWN)] = None
    power1: Annotated[float | None, says("Power of channel 1.", UNKNOWN)] = None
    power2: Annotated[float | None, says("Power of channel 2.", UNKNOWN)] = None
    power3: Annotated[float | None, says("Power of channel 3.", UNKNOWN)] = None
    power4: Annotated[float | None, says("Power of channel 4.", UNKNOWN)] = None
    power1n: Annotated[float | None, says("Power of channel 1, the other way.", UNKNOWN)] = None
    power2n: Annotated[float | None, says("Power of channel 2, the other way.", UNKNOWN)] = None
    power3n: Annotated[float | None, says("Power of channel 3, the other way.", UNKNOWN)] = None
    power4n: Annotated[float | None, says("Power of channel 4, the other way.", UNKNOWN)] = None
    power_vah1: Annotated[float | None, says("Apparent energy of channel 1.", UNKNOWN)] = None
    power_vah2: Annotated[float | None, says("Apparent energy of channel 2.", UNKNOWN)] = None
    power_vah3: Annotated[float | None, says("Apparent energy of channel 3.", UNKNOWN)] = None
    power_vah4: Annotated[float | None, says("Apparent energy of channel 4.", UNKNOWN)] = None
    temperature1: Annotated[float | None, says("Temperature at sensor 1.", UNKNOWN)] = None
    temperature2: Annotated[float | None, says("Temperature at sensor 2.", UNKNOWN)] = None
    temperature3: Annotated[float | None, says("Temperature at sensor 3.", UNKNOWN)] = None
    temperature4: Annotated[float | None, says("Temperature at sensor 4.", UNKNOWN)] = None
    temperature5: Annotated[float | None, says("Temperature at sensor 5.", UNKNOWN)] = None
    temperature6: Annotated[float | None, says("Temperature at sensor 6.", UNKNOWN)] = None
    temperature7: Annotated[float | None, says("Temperature at sensor 7.", UNKNOWN)] = None
    temperature8: Annotated[float | None, says("Temperature at sensor 8.", UNKNOWN)] = None
    irradiation: Annotated[float | None, says("Sunlight.", UNKNOWN)] = None
    battery_charge: Annotated[float | None, says("Charge of the battery.", UNKNOWN)] = None
    flow: Annotated[float | None, says("Flow of water or gas.", UNKNOWN)] = None
    voltage: Annotated[float | None, says("Voltage.", UNKNOWN)] = None
    signal_strength: Annotated[float | None, says("Strength of its radio signal.", UNKNOWN)] = None


class Batch(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Measurements of one device, ascending: the `data` of `measurement.batch`. `from` and `to` are its first and last."""

    device: Annotated[str, says("The device's id: the event's `subject`.")]
    from_: Annotated[datetime, says("When the first was measured.")]
    to: Annotated[datetime, says("When the last was measured.")]
    measurements: Annotated[list[Measurement], says("Ascending by `at`. None is in two batches.")]
