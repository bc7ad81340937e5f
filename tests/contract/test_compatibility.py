"""The gate: what would break a subscriber is refused, with a sentence that says what to do; what adds to the contract passes.

Each change is planted in a copy of the code, of which the contract is then made anew.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from agent import schemata
from agent.configfile import VENDORS
from tests.contract import gate, releases
from tests.papers import ROOT

COPIED = ("agent", "connectors", "events", "schemas", "tests/contract")
RECORDS, CHANGES, ASYNCAPI, PAST = "schemas/records.py", "schemas/changes.py", "agent/asyncapi.py", "schemas/past.py"
ENVELOPE, ENERGY, SUBJECTS = "schemas/envelope.py", "schemas/energy.py", "events/subjects.py"

Edits = Sequence[tuple[str, str, str]]  # file, what stands there, what is put there

NOTES = '    notes: Annotated[str | None, says("What the guest wrote.")] = None\n'
RELEASE_DAY = releases.day(releases.released()[-1][1])
SNAPSHOT = "vendorwire.snapshot.{vendor}.{account}.booking.{key}"
SOON, LATE = RELEASE_DAY + timedelta(days=30), RELEASE_DAY + gate.NOTICE
KEPT = f"keep number 1 in schemas/past.py until {LATE} or later, and say so in CHANGELOG.md (docs/compatibility.md)."


def kept(until: date) -> Edits:
    """Bookings get number 2, without `notes`; number 1 stays until a day."""
    past = f"""
class Booking1(Booking, frozen=True, kw_only=True):
    contract: ClassVar[int] = 1

    notes: str | None = None


CHANGES = tuple(sorted(changes_of("booking")))
PAST: tuple[Past, ...] = (Past(record=Booking1, changes=CHANGES, until=date({until.year}, {until.month}, {until.day})),)
"""
    imports = "from typing import ClassVar\nfrom schemas.changes import changes_of\nfrom schemas.records import Booking, Record\n"
    return (
        (RECORDS, NOTES, ""),
        (
            RECORDS,
            '    resource: ClassVar[str] = "booking"\n',
            '    resource: ClassVar[str] = "booking"\n    contract = 2\n',
        ),
        (PAST, "PAST: tuple[Past, ...] = ()\n", past),
        (PAST, "from schemas.records import Record\n", imports),
    )


REFUSED = {
    "a field is removed": (
        [(RECORDS, NOTES, "")],
        f"booking.created: data.record.notes is gone. Put it back, or raise `contract` of booking to 2 and {KEPT}",
    ),
    "a field inside another is removed": (
        [
            (
                RECORDS,
                '    email: Annotated[str | None, says("E-mail address; portals often give one of their own.")] = None\n',
                "",
            )
        ],
        "booking.cancelled: data.changes.guest.before.email is gone.",
    ),
    "a field is renamed": (
        [(RECORDS, "    room_name: Annotated", "    room_kind: Annotated")],
        "booking: room_name is gone.",
    ),
    "a field gets another type": (
        [(RECORDS, "    rooms: Annotated[int | None", "    rooms: Annotated[str | None")],
        "booking.modified: data.record.rooms was integer and is string.",
    ),
    "a field that was always there may be absent": (
        [
            (
                RECORDS,
                '    property_id: Annotated[str, says("The property\'s id: `subject` of `property` events.")]\n',
                "    property_id: str | None = None\n",
            )
        ],
        "booking.confirmed: data.record.property_id may be absent now.",
    ),
    "a value is no longer used": (
        [(RECORDS, '    WAITING = "waiting"\n', "")],
        "booking.deleted: data.record.status is never 'waiting' any more.",
    ),
    "there is a new value": (
        [(RECORDS, '    WAITING = "waiting"\n', '    WAITING = "waiting"\n    OPTION = "option"\n')],
        "booking.restored: data.record.status may be 'option' now, which no reader knows.",
    ),
    "a value may be anything": (
        [(ENERGY, "    status: Annotated[DeviceStatus,", "    status: Annotated[str,")],
        "device.offline: data.record.status was a value of a list and is string.",
    ),
    "a format is another": (
        [(RECORDS, "    cancelled_at: Annotated[datetime | None", "    cancelled_at: Annotated[date | None")],
        "booking.cancelled: data.record.cancelled_at had format 'date-time' and has 'date'.",
    ),
    "what is absent means something else": (
        [
            (
                RECORDS,
                'says("The vendor\'s labels, sorted.")] = ()',
                "says(\"The vendor's labels, sorted.\")] = ('none',)",
            )
        ],
        "booking: tags had default [] and has ['none'].",
    ),
    "a field of every event is removed": (
        [
            (ENVELOPE, '    pollid: Annotated[str, says("All events of one poll share it.")]\n', ""),
        ],
        "student.created: pollid is gone.",
    ),
    "an event is no longer sent": (
        [(CHANGES, ', "checked_out", "no_show")', ', "checked_out")')],
        f"booking.no_show: it is no longer sent. Keep number 1 in schemas/past.py until {LATE} or later,",
    ),
    "a subject is another": (
        [(SUBJECTS, "_scoped('snapshot'", "_scoped('record'")],
        f"booking.snapshots: the subject was {SNAPSHOT} and is {SNAPSHOT.replace('snapshot', 'record')}. Put it back:",
    ),
    "a header is removed": (
        [(ASYNCAPI, '        "vendorwire-attempt": "Counts the attempts from 1.",\n', "")],
        "webhook: header vendorwire-attempt is gone. Put it back",
    ),
    "a header may be missing": (
        [(ASYNCAPI, "required=[VERSION, SCHEMA_VERSION]", "required=[SCHEMA_VERSION]")],
        "device.snapshot: header Vendorwire-Version may be absent now.",
    ),
    "a content type is another": (
        [(ENVELOPE, '"application/cloudevents+json"', '"application/json"')],
        "webhook: the content type was application/cloudevents+json and is application/json.",
    ),
    "the number goes up and the old one is not kept": (
        [
            (RECORDS, NOTES, ""),
            (
                RECORDS,
                '    resource: ClassVar[str] = "booking"\n',
                '    resource: ClassVar[str] = "booking"\n    contract = 2\n',
            ),
        ],
        "booking.no_show: it has a new number, and the old one is not kept. Keep number 1 in schemas/past.py",
    ),
    "the number goes up and the old one ends too soon": (
        kept(SOON),
        f"booking.no_show: number 1 ends on {SOON}, which is too soon: keep it in schemas/past.py until {LATE} at least.",
    ),
    "what is kept of an old number is not what it was": (
        [*kept(LATE), (PAST, "    notes: str | None = None\n", "    notes: int | None = None\n")],
        "booking.no_show: data.record.notes was string and is integer.",
    ),
}

PASSES: dict[str, Edits] = {
    "nothing has changed": [],
    "there is a new field": [(RECORDS, NOTES, f"{NOTES}    loyalty: str | None = None\n")],
    "there is a new field that is always there": [(RECORDS, NOTES, f"{NOTES}    loyalty: int\n")],
    "there is a new event": [(CHANGES, '"checked_out", "no_show")', '"checked_out", "no_show", "reactivated")')],
    "there is a new header": [
        (ASYNCAPI, '        "webhook-id": "The', '        "webhook-new": "New.",\n        "webhook-id": "The')
    ],
    "a field that could be absent is always there": [
        (RECORDS, '    currency: Annotated[str | None, says("ISO', '    currency: Annotated[str, says("ISO'),
        (RECORDS, 'code of its prices.")] = None', 'code of its prices.")]'),
    ],
    "only the words are others": [(RECORDS, "What the guest wrote.", "What the guest has written.")],
    "the number goes up and the old one is kept for long enough": kept(LATE),
    "an event is no longer sent, which is announced in time": [
        (CHANGES, ', "checked_out", "no_show")', ', "checked_out")'),
        (PAST, "from schemas.records import Record\n", "from schemas.records import Booking, Record\n"),
        (PAST, "= ()\n", f"= (Past(record=Booking, changes=('no_show',), until=date({LATE:%Y, %-m, %-d})),)\n"),
    ],
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_would_break_a_subscriber_is_refused(change: str, tmp_path: Path) -> None:
    edits, sentence = REFUSED[change]
    status, said = judged(tmp_path, edits)
    assert status == 1, said
    assert [line for line in said.splitlines() if line.startswith(sentence)], f"{sentence}\n\n{said}"


@pytest.mark.parametrize("change", PASSES)
def test_what_adds_to_the_contract_passes(change: str, tmp_path: Path) -> None:
    assert judged(tmp_path, PASSES[change]) == (0, "no subscriber breaks\n")


def test_no_subscriber_of_the_last_release_breaks() -> None:
    assert releases.breaks(schemata.document(VENDORS), date.today()) == []  # noqa: DTZ011 a day is a day


def test_no_release_breaks_subscribers_of_the_one_before() -> None:
    known = releases.released()
    for (_, before), (name, after) in pairwise(known):
        on = releases.day(after)
        assert gate.broken(before, after, announced=on, today=on) == [], name


def test_a_released_contract_is_the_one_whose_digest_stands_in_the_code() -> None:
    files = {file.stem: releases.digest(file) for file in releases.RELEASED.iterdir()}
    assert files == releases.DIGESTS, "the contract of a release never changes: keep another, under the next version"


def test_a_released_contract_has_one_content_in_the_history() -> None:
    for name in releases.DIGESTS:
        file = f"schemas/released/{name}.json"
        added = git("log", "--diff-filter=A", "--format=%H", "--", file).split()
        if added:  # else it is about to be released
            now = (ROOT / file).read_text(encoding="utf-8")
            assert git("show", f"{added[-1]}:{file}") == now, f"{file} is not what was released"


def test_a_version_is_released_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"0\.1\.0 is released already: its contract never changes"):
        releases.keep("0.1.0", schemata.document(VENDORS), RELEASE_DAY, tmp_path)


def test_a_release_that_breaks_the_last_one_is_not_kept(tmp_path: Path) -> None:
    broken = schemata.document(VENDORS)
    del broken["channels"]["webhook"]
    with pytest.raises(ValueError, match=r"^webhook: the channel is gone"):
        releases.keep("9.0.0", broken, RELEASE_DAY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_release_is_kept_with_its_day_and_without_prose(tmp_path: Path) -> None:
    file = releases.keep("9.0.0", schemata.document(VENDORS), RELEASE_DAY, tmp_path)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert releases.day(found) == RELEASE_DAY
    booking, place = (found["components"]["schemas"][name] for name in ("Booking", "Property"))
    assert booking["properties"]["notes"] == {"type": "string"}
    assert {"title", "name"} <= place["properties"].keys()


class TestAnOldNumber:
    """`booking.no_show:1`, which was promised until a day, and what may become of it."""

    def test_may_go_when_its_day_has_come(self) -> None:
        assert judge(promised(LATE), without(), today=LATE) == []

    def test_may_not_go_a_day_before(self) -> None:
        (said,) = judge(promised(LATE), without(), today=LATE - timedelta(days=1))
        assert said.startswith(f"booking.no_show: number 1 was promised until {LATE} and is gone.")

    def test_may_not_end_earlier_than_it_was_promised(self) -> None:
        (said,) = judge(promised(LATE), promised(SOON), today=RELEASE_DAY)
        assert said.startswith(f"booking.no_show: number 1 was promised until {LATE}, not until {SOON}.")

    def test_may_stay_for_longer(self) -> None:
        assert judge(promised(SOON), promised(LATE), today=LATE) == []


def promised(until: date) -> gate.Node:
    document = schemata.document(VENDORS)
    document["components"]["schemas"]["booking.no_show"]["x-served-until"] = until.isoformat()
    return document


def without() -> gate.Node:
    document = schemata.document(VENDORS)
    del document["components"]["schemas"]["booking.no_show"]
    return document


def judge(old: gate.Node, new: gate.Node, today: date) -> list[str]:
    return gate.broken(old, new, announced=RELEASE_DAY, today=today)


def judged(folder: Path, edits: Edits) -> tuple[int, str]:
    """The gate's exit status and sentences, for the code with these edits."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)  # with what is compiled: it fits what is not edited
    for name, there, put in edits:
        file = folder / name
        text = file.read_text(encoding="utf-8")
        assert there in text, f"{name} has changed: there is no {there!r}"
        file.write_text(text.replace(there, put), encoding="utf-8")
    command = [sys.executable, "-m", "tests.contract.releases"]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def git(*arguments: str) -> str:
    """What git says; a tree that is no checkout has no history to keep."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout: there is no history")
    return done.stdout
