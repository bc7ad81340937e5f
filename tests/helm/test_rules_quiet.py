"""Nobody is told of an installation that is well: new, restarting, or just working; and the same one is told of when it stops."""

from pathlib import Path
from typing import Any

from schemas.changes import Scope
from tests.helm.installation import BOOKINGS, SCOPES, Installation
from tests.helm.promtool import alerts, tried

Tree = Any  # YAML


def test_no_alert_fires_on_a_fresh_install_whose_bus_and_first_sync_take_their_time(tmp_path: Path) -> None:
    town = Installation()
    town.minute()
    town.minute()  # its image is still being pulled
    town.start("a")
    town.start("b")
    for _ in range(3):  # so is that of the NATS server
        town.minute(connected=False)
    for _ in range(3):
        town.minute(BOOKINGS)
    for _ in range(60):  # the first sync of the other takes an hour
        town.minute(BOOKINGS)
    for _ in range(60):
        town.minute(*SCOPES)
    assert quiet(town, tmp_path, range(1, 128, 2)) == ""


def test_no_alert_fires_while_one_agent_after_the_other_is_replaced(tmp_path: Path) -> None:
    town = Installation()
    town.start("a")
    town.start("b")
    for _ in range(90):
        town.minute(*SCOPES)
    for old, new in (("a", "c"), ("b", "d"), ("c", "e"), ("d", "f")):
        town.start(new)
        town.minute(*SCOPES)
        town.end(old)
        town.minute(*SCOPES)
    for _ in range(30):
        town.minute(*SCOPES)
    assert quiet(town, tmp_path, range(80, 128)) == ""


def test_no_alert_fires_when_the_only_agent_is_away_for_three_minutes(tmp_path: Path) -> None:
    town = Installation()
    town.start("a")
    for _ in range(90):
        town.minute(*SCOPES)
    town.end("a")
    for _ in range(3):
        town.minute()
    town.start("b")
    town.minute(connected=False)
    for _ in range(35):
        town.minute(*SCOPES)
    assert quiet(town, tmp_path, range(80, 128)) == ""


def test_when_polls_stop_in_such_an_installation_each_resource_is_told_of(tmp_path: Path) -> None:
    town = Installation()
    town.start("a")
    town.start("b")
    for _ in range(30):
        town.minute(*SCOPES)
    for _ in range(10):
        town.minute()
    stale = {
        "alertname": "VendorwireAccountStale",
        "eval_time": "39m",
        "exp_alerts": [stopped(each) for each in SCOPES],
    }
    status, said = tried(case(town, [stale]), tmp_path)
    assert status == 0, said


def quiet(town: Installation, folder: Path, minutes: range) -> str:
    """What promtool complains of where no alert is to fire in any of these minutes."""
    moments = [f"{minute}m" for minute in minutes]
    status, said = tried(
        case(town, [{"alertname": name, "eval_time": at} for name in alerts() for at in moments]), folder
    )
    return said if status else ""


def case(town: Installation, expected: list[Tree]) -> Tree:
    test = {"interval": "1m", "input_series": town.series(), "alert_rule_test": expected}
    return {"evaluation_interval": "1m", "tests": [test]}


def stopped(scope: Scope) -> Tree:
    where = f"{scope.vendor}/{scope.account} {scope.resource}"
    said = f"{where} was last read 10m 0s ago: see the outcome of its polls, then the vendor."
    labels = {"job": "vw", "vendor": scope.vendor, "account": scope.account, "resource": scope.resource}
    return {"exp_labels": labels, "exp_annotations": {"summary": said}}
