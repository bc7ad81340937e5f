"""carbonTRACK's replies: only the fields used, lenient. Birth dates, weather and distances are not among them, so they are
dropped while decoding and never enter a record."""

from types import MappingProxyType
from typing import Any

import msgspec

_SPELLINGS = MappingProxyType(
    {
        "id": "ID",
        "device_id": "DeviceID",
        "ip_address": "IPAddress",
        "timezone_id": "TimezoneId",
        "device_status_update_date_time": "DeviceStatusUpdateDateTime",
        **{f"power{phase}n": f"Power{phase}N" for phase in range(1, 5)},
        **{f"power_vah{phase}": f"PowerVAH{phase}" for phase in range(1, 5)},
    }
)


def spelled(name: str) -> str:
    """A field's name as the vendor writes it: `DeviceName`, but `DeviceID`."""
    return _SPELLINGS.get(name) or "".join(word.capitalize() for word in name.split("_"))


class Wire(msgspec.Struct, frozen=True, rename=spelled, gc=False, kw_only=True):
    """Unknown fields are ignored: carbonTRACK says that it may add some."""


class Distributor(Wire, frozen=True, rename=spelled, kw_only=True):
    id: int | float | str | None = None


class Envelope(Wire, frozen=True, rename=spelled, kw_only=True):
    """How a failure inside a 200 shows. What means success is not documented, nor are the types. The listings are only
    looked at for whether they hold anything."""

    error: Any = None
    error_number: Any = None
    error_message: Any = None
    response_code: Any = None
    devices: msgspec.Raw = msgspec.Raw()
    measurements: msgspec.Raw = msgspec.Raw()
    customer_list: msgspec.Raw = msgspec.Raw()


class Paging(Wire, frozen=True, rename=spelled, kw_only=True):
    """`count`: how many there are in all, it seems."""

    pages: int | float | str | None = None
    pages_index: int | float | str | None = None
    count: int | float | str | None = None


class DeviceList(Paging, frozen=True, rename=spelled, kw_only=True):
    """Without the list itself it is none, and not an empty one."""

    devices: list[msgspec.Raw] | None


class MeasurementList(Paging, frozen=True, rename=spelled, kw_only=True):
    measurements: list[msgspec.Raw] | None


class CustomerList(Wire, frozen=True, rename=spelled, kw_only=True):
    customer_list: list[msgspec.Raw] | None
    record_count: int | float | str | None = None


class DeviceKey(Wire, frozen=True, rename=spelled, kw_only=True):
    device_id: int | float | str


class MeasurementKey(DeviceKey, frozen=True, rename=spelled, kw_only=True):
    """Its `ID` may be unfilled: the vendor's document shows only zeros."""

    record_date_time: str


class CustomerKey(Wire, frozen=True, rename=spelled, kw_only=True):
    customer_id: int | float | str


class Control(Wire, frozen=True, rename=spelled, kw_only=True):
    control_id: int | float | str
    control_type: str | int | float | None = None
    is_switch_enabled: bool | None = None
    status: bool | None = None


class Device(DeviceKey, frozen=True, rename=spelled, kw_only=True):
    """The format of its times is not documented, so they are texts."""

    device_name: str | int | float | None = None
    customer_ref: str | int | float | None = None
    is_registered: bool | None = None
    timezone_id: int | float | str | None = None
    sensor_config: str | int | float | None = None
    measurement_config: str | int | float | None = None
    firmware_version: str | int | float | None = None
    device_status_update_date_time: str | None = None
    device_data_update_date_time: str | None = None
    ip_address: str | None = None
    longitude: float | str | None = None
    latitude: float | str | None = None
    is_device_contains_inverter: bool | None = None
    controls: list[Control] | None = None


Number = str | float | None  # usually text with two decimals: "1,000.00"


class Measurement(MeasurementKey, frozen=True, rename=spelled, kw_only=True):
    """Named as in our own record. Units are not documented."""

    power_usage: Number = None
    generating: Number = None
    power_exported: Number = None
    power_usage_net: Number = None
    power_exported_net: Number = None
    power_factor1: Number = None
    power_factor2: Number = None
    power_factor3: Number = None
    power_factor4: Number = None
    power1: Number = None
    power2: Number = None
    power3: Number = None
    power4: Number = None
    power1n: Number = None
    power2n: Number = None
    power3n: Number = None
    power4n: Number = None
    power_vah1: Number = None
    power_vah2: Number = None
    power_vah3: Number = None
    power_vah4: Number = None
    temperature1: Number = None
    temperature2: Number = None
    temperature3: Number = None
    temperature4: Number = None
    temperature5: Number = None
    temperature6: Number = None
    temperature7: Number = None
    temperature8: Number = None
    irradiation: Number = None
    battery_charge: Number = None
    flow: Number = None
    voltage: Number = None
    signal_strength: Number = None


class Customer(CustomerKey, frozen=True, rename=spelled, kw_only=True):
    devices: list[int | float | str | None] | None = None
    first_name: str | int | float | None = None
    last_name: str | int | float | None = None
    email: str | None = None
    user_id: int | float | str | None = None
    account_number: str | int | float | None = None
    user_name: str | int | float | None = None
    mobile: str | int | float | None = None
    day_time_contact: str | int | float | None = None
    work_contact: str | int | float | None = None
    location: str | None = None
    distributor_id: int | float | str | None = None
    timezone_id: int | float | str | None = None
    is_metrics_unit: bool | None = None


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """As documented, or as servers of this kind often write it. `issued_at` is by the vendor's clock and not read."""

    access_token: str | int
    refresh_token: str | int | None = None
    expires_in: int | float | str | None = None
    issued: str | None = msgspec.field(default=None, name=".issued")
    expires: str | None = msgspec.field(default=None, name=".expires")
