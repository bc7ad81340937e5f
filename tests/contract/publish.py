"""Writes what is published: the examples, the schemas, the AsyncAPI document and the catalogue of events.

    make contract

`make test` compares what is checked in with what this would write.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from agent import schemata
from agent.configfile import VENDORS
from agent.shapes import Schema
from tests.contract import catalogue, producing
from tests.papers import ROOT

MENDS = "make contract"
PUBLISHED = ROOT / "schemas" / "published"
EXAMPLES = PUBLISHED / "examples.json"
CATALOGUE = ROOT / "docs" / "events.md"


def documents() -> dict[str, Schema]:
    """Every document by name, with the examples that are checked in."""
    return {name: make() for name, (_, make) in schemata.catalogue(VENDORS).items()}


def files(made: Mapping[str, Schema]) -> dict[Path, bytes]:
    """What is made from the documents: each file and its content."""
    found = {PUBLISHED / f"{name}.json": pretty(each) for name, each in made.items()}
    return {**found, CATALOGUE: catalogue.render(made).encode()}


def pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def main() -> None:
    EXAMPLES.parent.mkdir(exist_ok=True)
    EXAMPLES.write_bytes(pretty(producing.chosen()))
    made = files(documents())
    for stale in set(PUBLISHED.glob("*.json")) - made.keys() - {EXAMPLES}:
        stale.unlink()
    for file, content in made.items():
        file.write_bytes(content)
    print(f"{len(made) + 1} files written")


if __name__ == "__main__":
    main()
