"""The fake carbonTRACK's data in the vendor's own shape, and the ways it spells them.

All of it is invented. Every birth date and weather location contains PRIVATE: it must never leave a connector.
"""

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from connectors.sandbox.base import Wire

PRIVATE = "sandbox-private"
_FIRST_DEVICE = 8_796_541_235_870_000  # 16 digits
_SITES = ["Main board", "Workshop", "Cold store", "Pump house", "Office"]
_NAMES = [("Jo", "Sample"), ("Sam", "Exemplar"), ("Kim", "Specimen"), ("Alex", "Pattern"), ("Lee", "Template")]
_TOWNS = [("Melbourne VIC", -37.81, 144.96), ("Sydney NSW", -33.87, 151.21), ("Perth WA", -31.95, 115.86)]
_SWITCHES = ["HotWater", "PoolPump", "AirConditioner"]
_INSTANT = "%Y-%m-%dT%H:%M:%S"


def uuid(kind: int, number: int) -> str:
    """An id that is always the same for the same thing."""
    return str(UUID(int=(kind << 96) + (4 << 76) + (8 << 60) + number))


def distributors() -> list[Wire]:
    return [{"ID": uuid(1, 1), "UserName": "sample.distributor"}, {"ID": uuid(1, 2), "UserName": "example.distributor"}]


def device(number: int, rng: random.Random) -> Wire:
    """An invented device, without the times of its last reports."""
    town, latitude, longitude = rng.choice(_TOWNS)
    id_, name = str(_FIRST_DEVICE + number), rng.choice(_SITES)
    return {
        "DeviceID": id_,
        "DeviceName": name,
        "CustomerRef": f"ABC{number}",
        "IsRegistered": True,
        "TimezoneId": 57,
        "SensorConfig": rng.choice(["1P", "3P"]),
        "MeasurementConfig": "STD",
        "FirmwareVersion": rng.choice(["2.4.1", "2.5.0"]),
        "IPAddress": f"203.0.113.{1 + number % 250}",
        "Longitude": round(longitude + rng.uniform(-0.1, 0.1), 5),
        "Latitude": round(latitude + rng.uniform(-0.1, 0.1), 5),
        "Distance": 0,
        "IsDeviceContainsInverter": rng.random() < 0.5,
        "Weather": {
            "WeatherLocation": f"{PRIVATE} {town}",
            "WeatherTemperature": "14",
            "WeatherIcon": "cloudy",
            "DeviceName": name,
            "DeviceId": id_,
        },
        "Controls": [
            {"ControlId": each, "ControlType": kind, "IsSwitchEnabled": True, "Status": rng.random() < 0.5}
            for each, kind in enumerate(rng.sample(_SWITCHES, rng.randrange(1, 3)), 1)
        ],
    }


def customer(number: int, distributor: str, devices: list[str], rng: random.Random) -> Wire:
    given, family = rng.choice(_NAMES)
    return {
        "Devices": devices,
        "CustomerId": uuid(2, number),
        "FirstName": given,
        "LastName": family,
        "Email": f"customer.{number}@example.com",
        "UserId": uuid(3, number),
        "AccountNumber": f"ABC{number}",
        "UserName": f"{given}.{family}.{number}".lower(),
        "Mobile": f"04000{number:05}",
        "DayTimeContact": "",
        "Location": f"{number} Sample St, {rng.choice(_TOWNS)[0]}",
        "DateOfBirth": f"{PRIVATE}-birth-{number}",
        "DistributorId": distributor,
        "CurrencyId": str(UUID(int=0)),
        "TimezoneId": 57,
        "IsMetricsUnit": True,
        "WorkContact": "",
    }


def measurement(id_: str, at: datetime) -> Wire:
    """What a device measured at a moment: always the same for the same moment."""
    rng = random.Random(f"{id_} {at.timestamp()}")
    power = [rng.uniform(0, 900), rng.uniform(0, 900), 0, 0]
    generating = rng.uniform(0, 500)
    return {
        "ID": str(UUID(int=0)),
        "DeviceID": id_,
        "RecordDateTime": instant(at),
        **_numbers(PowerUsage=sum(power), Generating=generating, PowerExported=0),
        **_phases("PowerFactor", [0.98, 0.97, 0, 0]),
        **_phases("Power", power),
        **{f"{name}N": value for name, value in _phases("Power", [0, 0, 0, 0]).items()},
        **_phases("PowerVAH", [each * 1.02 for each in power]),
        **_phases("Temperature", [rng.uniform(10, 40), 0, 0, 0, 0, 0, 0, 0]),
        **_numbers(Irradiation=0, BatteryCharge=rng.uniform(5, 100), Flow=0, Voltage=rng.uniform(230, 250)),
        "SignalStrength": f"{rng.uniform(500, 2000):,.2f}",
        **_numbers(PowerUsageNet=sum(power) - generating, PowerExportedNet=0),
    }


def _numbers(**values: float) -> Wire:
    return {name: f"{value:.2f}" for name, value in values.items()}


def _phases(name: str, values: list[float]) -> Wire:
    return _numbers(**{f"{name}{number}": value for number, value in enumerate(values, 1)})


def instant(at: datetime) -> str:
    """An instant as the vendor writes it: `2026-05-16T06:59:35Z`."""
    return at.astimezone(UTC).strftime(_INSTANT) + "Z"


def envelope(kind: str, items: list[Wire], **paging: Any) -> Wire:
    """A reply of the two listings that are read by POST."""
    return {kind: items, **paging, **outcome(0, "")}


def outcome(number: int, message: str) -> Wire:
    failed = number != 0
    return {
        "ResponseCode": int(failed),
        "ResponseMessage": "Failed" if failed else "",
        "Message": "",
        "Error": int(failed),
        "ErrorNumber": number,
        "ErrorMessage": message,
    }


def respelled(item: Wire, noise: random.Random) -> Wire:
    """The same item as this read happens to spell it: the order of fields and lists, null, numbers and times."""
    shown = {name: _again(name, value, noise) for name, value in item.items()}
    if "Weather" in shown:
        shown["Weather"] = shown["Weather"] | {"WeatherTemperature": str(noise.randrange(5, 35))}
        shown |= {"Distance": noise.randrange(9), "IPAddress": f"203.0.113.{noise.randrange(1, 255)}"}
    return {name: shown[name] for name in noise.sample(list(shown), len(shown))}


def _again(name: str, value: Any, noise: random.Random) -> Any:
    match value:
        case "":
            return noise.choice(["", None])
        case str() if name == "DeviceID":
            return noise.choice([value, int(value)])
        case int() if name == "TimezoneId":
            return noise.choice([value, str(value)])
        case str() if name.endswith("DateTime"):
            return noise.choice([value, value.removesuffix("Z") + ".0000000Z", value.removesuffix("Z")])
        case float() if name in {"Longitude", "Latitude"}:
            return value + noise.uniform(-1e-9, 1e-9)
        case [dict(), *_]:
            return [respelled(each, noise) for each in noise.sample(value, len(value))]
        case [_, *_]:
            return noise.sample(value, len(value))
        case str() if value.replace(".", "", 1).replace("-", "", 1).isdigit() and "." in value:
            return noise.choice([value, f"{float(value):,.2f}", value + "0"])
    return value
