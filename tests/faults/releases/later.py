"""The release after this one, made from this one: its bookings have one more field, and one more status."""

import shutil
from pathlib import Path

from tests.agent.harness import ROOT

FLOORS = ("agent", "connectors", "events", "schemas")
LOYALTY, OPTION = "gold", "option"
_LAST = """    status_name: Annotated[str | None, says("The vendor's own word for the status.")] = None\n"""
_EDITS = (
    ("schemas/records.py", '    WAITING = "waiting"\n', f'    OPTION = "{OPTION}"\n'),
    ("schemas/records.py", _LAST, "    loyalty: str | None = None\n"),
    ("schemas/records.py", _LAST, "    schema: ClassVar[int] = 2\n"),
    (
        "schemas/records.py",
        _LAST,
        '    added_in: ClassVar[dict[str, int]] = {"loyalty": 2}\n',
    ),
    ("connectors/octorate_records.py", "        no_show=found.no_show,\n", f'        loyalty="{LOYALTY}",\n'),
)


def build(folder: Path) -> Path:
    """Its code, in a folder from which it can be run."""
    for floor in FLOORS:
        shutil.copytree(ROOT / floor, folder / floor, ignore=shutil.ignore_patterns("__pycache__"))
    for name, after, line in _EDITS:
        file = folder / name
        before, found, rest = file.read_text().partition(after)
        if not found:
            raise ValueError(f"{name} has changed: there is no {after!r}")
        file.write_text(before + after + line + rest)
    return folder
