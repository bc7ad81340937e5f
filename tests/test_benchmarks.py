"""Every benchmark still runs, at tiny sizes, and tells well-formed rows; the report is made of rows alone."""

from datetime import date
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import MODULES, PEERS, measured, present
from benchmarks.support import ROOT, Row

pytestmark = pytest.mark.anyio
HOLDS = Row(group="Polls", what="cost", figure="1.2 µs", limit="bare 1.0 µs", ratio=1.2, bound=1.5, at="most")
FAILS = Row(group="Sync", what="rate", figure="900", limit="required 1,000", ratio=900, bound=1000, at="least")


@pytest.mark.parametrize("name", present())
async def test_a_benchmark_runs(name: str) -> None:
    rows = await measured(name, smoke=True)
    assert [row.limit for row in rows if row.figure == "failed"] == []
    assert all(row.group and row.what and row.figure and row.limit for row in rows)


async def test_a_benchmark_that_breaks_is_a_row_that_says_so() -> None:
    (row,) = await measured("nothing_of_this_name", smoke=True)
    assert (row.figure, row.holds) == ("failed", False)
    assert "nothing_of_this_name" in row.limit


def test_a_row_holds_on_its_side_of_the_bound() -> None:
    assert (HOLDS.holds, FAILS.holds) == (True, False)


def test_a_table_has_a_line_for_each_row() -> None:
    assert report.table([HOLDS, FAILS]).splitlines()[2:] == [
        "| Polls: cost | 1.2 µs | bare 1.0 µs | 1.2 | at most 1.5 | holds |",
        "| Sync: rate | 900 | required 1,000 | 900 | at least 1,000 | **fails** |",
    ]


def test_a_run_without_the_rivals_keeps_what_is_told_of_them() -> None:
    with_rivals = report.page_with_rivals([FAILS], "Measured then.", report.page([HOLDS], "Measured now.", ""))
    again = report.page([HOLDS], "Measured later.", with_rivals)
    assert report.rivals_of(again) == report.rivals_of(with_rivals)
    assert "Measured then." in again
    assert "Measured now." not in again


def test_the_page_tells_the_day_and_the_kind_of_machine_and_neither_its_name_nor_a_path() -> None:
    made = report.made_on(date(2026, 5, 20))
    assert made.startswith("Measured on 2026-05-20: ")
    assert "Python 3." in made
    assert str(ROOT) not in made
    assert str(Path.home()) not in made


def test_the_list_names_every_benchmark_that_there_is() -> None:
    runnable = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "emit(" in path.read_text()}
    assert runnable - {"support"} == set(present())
    assert PEERS not in MODULES
