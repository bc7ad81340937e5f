"""What the fault suite measured, as lines for people and as the table in `docs/reliability.md`."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

BEGIN, END = "<!-- figures: written by `make torture` -->", "<!-- end of figures -->"
PROMISES = (
    *("nothing is lost", "nothing twice", "at least once", "it resumes by itself", "no false delete", "nothing false"),
    *(
        "the rest goes on",
        "bounded memory",
        "never silent",
        "a clean end",
        "upgrades are silent",
        "secrets stay secret",
        "no leaks",
    ),
)
_ROW = re.compile(r"\| \*\*(?P<promise>.*?)\*\* \| (?P<fault>.*?) \| (?P<measured>.*?) \| \[(?P<test>\w+)\]\(.*\) \|")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One fault that was caused, what came of it, and the file whose test did."""

    promise: str
    fault: str
    measured: str
    test: str = ""

    def wire(self) -> str:
        """As text, to pass from one process to another."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of(cls, wire: object, test: str) -> "Figure":
        return msgspec.structs.replace(msgspec.json.decode(str(wire), type=cls), test=test)

    def line(self) -> str:
        return f"{self.promise}: {self.fault}: {self.measured}"

    def row(self) -> str:
        return (
            f"| **{self.promise}** | {self.fault} | {self.measured} | [{self.test}](../tests/faults/{self.test}.py) |"
        )


def in_order(figures: Iterable[Figure]) -> list[Figure]:
    """By promise, each once."""
    return sorted(set(figures), key=lambda each: (PROMISES.index(each.promise), each.test, each.fault))


def write(page: Path, figures: Mapping[str, Iterable[Figure]]) -> None:
    """Put the figures of these files in place of the ones that the page has of them."""
    before, _, rest = page.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    kept = [Figure(**row.groupdict()) for row in _ROW.finditer(old) if row["test"] not in figures]
    rows = [each.row() for each in in_order([*kept, *(each for some in figures.values() for each in some)])]
    table = "\n".join(["| promise | fault caused | measured | test |", "|---|---|---|---|", *rows])
    page.write_text(f"{before}{BEGIN}\nLast measured on {datetime.now(UTC):%Y-%m-%d}.\n\n{table}\n{END}{after}")
