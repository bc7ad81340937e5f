"""The contract as each release published it: what the next one is held against.

    .venv/bin/python -m tests.contract.releases            says what would break subscribers of the last release
    .venv/bin/python -m tests.contract.releases 2027-02-01 keeps the contract of this version, released on that day

`schemas/released/<version>.json` is the release's AsyncAPI document without its prose. It never changes: its digest stands
here, and in the history its file has one content. So who moves it has to say so in code, and is refused all the same; and a
release that breaks the one before it is refused like a change that does.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent import schemata
from agent.configfile import VENDORS
from tests.contract import gate, shapes

RELEASED = Path(__file__).parent.parent.parent / "schemas" / "released"
DIGESTS: Mapping[str, str] = {  # version → digest of its file, in order of release; lines are added, never changed
    "0.1.0": "c8452d754a2afa7ba7a5a4d998ae673eb545b3877c47feeac2a146ec17fe76a4",
}

_ON = "x-released"
_PROSE = frozenset({"title", "description", "examples", "summary"})


def released() -> list[tuple[str, shapes.Node]]:
    """Version and contract of each release, the oldest first."""
    return [(name, json.loads((RELEASED / f"{name}.json").read_text(encoding="utf-8"))) for name in DIGESTS]


def day(contract: shapes.Node) -> date:
    """When it was released."""
    return date.fromisoformat(contract["info"][_ON])


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def breaks(contract: shapes.Node, today: date) -> list[str]:
    """What would break subscribers of the last release."""
    _, last = released()[-1]
    return gate.broken(last, contract, announced=day(last), today=today)


def keep(name: str, contract: shapes.Node, on: date, folder: Path = RELEASED) -> Path:
    """Keep a release's contract; ValueError if it is there already, or would break subscribers of the last."""
    file = folder / f"{name}.json"
    if file.exists() or name in DIGESTS:
        raise ValueError(f"{name} is released already: its contract never changes")
    if DIGESTS and (found := gate.broken(released()[-1][1], contract, announced=on, today=on)):
        raise ValueError("\n".join(found))
    kept = _bare(contract)
    kept["info"][_ON] = on.isoformat()
    folder.mkdir(exist_ok=True)
    file.write_text(json.dumps(kept, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")
    return file


def _bare(node: Any, *, names: bool = False) -> Any:
    """Without what only explains. `names`: the keys of this mapping are names of ours, not keywords."""
    if isinstance(node, list):
        return [_bare(each) for each in node]
    if not isinstance(node, dict):
        return node
    inner = {"properties", "patternProperties", "schemas", "messages", "channels", "parameters"}
    return {
        key: _bare(each, names=key in inner and not names) for key, each in node.items() if names or key not in _PROSE
    }


def main(given: list[str]) -> int:
    contract = schemata.document(VENDORS)
    if not given:
        found = breaks(contract, datetime.now(UTC).date())
        print("\n".join(found) or "no subscriber breaks")
        return 1 if found else 0
    file = keep(version("vendorwire"), contract, date.fromisoformat(given[0]))
    print(f'written; now add to DIGESTS in tests/contract/releases.py: "{file.stem}": "{digest(file)}"')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
