"""What the fault suite measured, as lines for people and as the table in `docs/reliability.md`."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

BEGIN, END = "<!-- figures: written by `make torture` -->", "<!-- end of figures -->"


class Figure(msgspec.Struct, frozen=True, order=True):
    """One fault that was caused, and what came of it."""

    promise: str
    fault: str
    measured: str

    def wire(self) -> str:
        """As text, to pass from one process to another."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of(cls, wire: object) -> "Figure":
        return msgspec.json.decode(str(wire), type=cls)

    def line(self) -> str:
        return f"{self.promise}: {self.fault}: {self.measured}"


def table(figures: Iterable[Figure]) -> str:
    """A markdown table, sorted by promise."""
    rows = [f"| {each.promise} | {each.fault} | {each.measured} |" for each in sorted(set(figures))]
    return "\n".join(["| promise | fault caused | measured |", "|---|---|---|", *rows])


def write(page: Path, figures: Iterable[Figure]) -> None:
    """Put the table between the page's two marks, with today's date."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    told = f"Measured on {datetime.now(UTC):%Y-%m-%d}.\n\n{table(figures)}"
    page.write_text(f"{before}{BEGIN}\n{told}\n{END}{after}")
