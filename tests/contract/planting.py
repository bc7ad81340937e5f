"""A change of the contract, planted in a copy of the code, of which the contract is then made anew and judged."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from tests.contract import gate, releases
from tests.papers import ROOT

COPIED = ("agent", "connectors", "events", "schemas", "tests/contract")
RECORDS, CHANGES, ASYNCAPI, PAST = "schemas/records.py", "schemas/changes.py", "agent/asyncapi.py", "schemas/past.py"
ENVELOPE, ENERGY, SUBJECTS = "schemas/envelope.py", "schemas/energy.py", "events/subjects.py"
LETTINGS = "schemas/lettings.py"

Edits = Sequence[tuple[str, str, str]]  # file, what stands there, what is put there

NOTES = '    notes: Annotated[str | None, says("What the guest wrote.")] = None\n'
UPPER = 'Annotated[str, msgspec.Meta(pattern="^[A-Z]*$")]'
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


def ended(change: str) -> Edits:
    """A booking's change is told no more, and its schema stays for as long as it must."""
    return (
        (PAST, "from schemas.records import Record\n", "from schemas.records import Booking, Record\n"),
        (PAST, "= ()\n", f"= (Past(record=Booking, changes=({change!r},), until=date({LATE:%Y, %-m, %-d})),)\n"),
    )


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
