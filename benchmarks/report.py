"""The report: rows as markdown tables, by group, and the page they are kept on. Pure, but for asking what machine this is."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from pathlib import Path

import psutil

from benchmarks.support import Row
from tests.nats import BINARY

RIVALS = "## Rivals\n"
_HEAD = "| | measured | limit | ratio | required | |\n|---|---|---|---|---|---|"
_INTRODUCTION = """\
# Performance

`make bench` writes this page; `make bench-peers` its last section. Each figure stands against a limit that was measured in
the same run, taking turns with it (A B A B …), each the median of several rounds: a bare loop that only does what cannot be
left out, such as fetching the same pages and throwing them away. What is required is a ratio to that limit, so that it
means the same on another machine, or a plain figure where a person would feel it.

Processor time is that of the agent's process, user and system. The nats-server, the vendors and the receivers are real, and
processes of their own. A vendor's record is about 700 bytes of JSON. `python -m benchmarks.unchanged` runs one benchmark
alone, and prints its rows as JSON.
"""

_RIVALS = """\
Others doing the same job, pinned in `benchmarks/requirements-peers.txt`, each written as its own documentation advises and in
its fastest reasonable way, each a process of its own; the ratio says how many times as fast we are. airbyte-cdk is a
declarative source run by its entrypoint, singer-sdk a tap and a target of its own, and both hash what comes out. dlt loads
parquet into duckdb. The plain script uses httpx, json and SQLite. When one booking in a hundred changes, each must find just
those, or the benchmark fails. FastStream pulls with 64 workers and posts with httpx; nats-sinks has its own HTTP sink, which
sends one request after the other.
"""


def table(rows: Sequence[Row], *, grouped: bool = False) -> str:
    """One markdown table; `grouped` where a heading above it says the group."""
    return "\n".join([_HEAD, *(_line(row, row.what if grouped else f"{row.group}: {row.what}") for row in rows)])


def tables(rows: Sequence[Row]) -> str:
    """One table for each group, in the order in which the groups come first."""
    order = list(dict.fromkeys(row.group for row in rows))
    sections = groupby(sorted(rows, key=lambda row: order.index(row.group)), key=lambda row: row.group)
    return "\n\n".join(f"## {group}\n\n{table(list(some), grouped=True)}" for group, some in sections)


def page(rows: Sequence[Row], made: str, kept: str) -> str:
    """The whole page, but for the rivals: their section is `kept` from the page as it was."""
    return f"{_INTRODUCTION}\n{made}\n\n{tables(rows)}\n\n{rivals_of(kept)}"


def page_with_rivals(rows: Sequence[Row], made: str, kept: str) -> str:
    """The page as it was, with another section of rivals."""
    before = kept.partition(RIVALS)[0].rstrip() or _INTRODUCTION.rstrip()
    return f"{before}\n\n{RIVALS}\n{_RIVALS}\n{made}\n\n{table(rows)}\n"


def rivals_of(text: str) -> str:
    """The section of a page that tells of rivals."""
    found = text.partition(RIVALS)[2]
    return RIVALS + (found or "\nNot measured yet: `make bench-peers` installs and runs them.\n")


def made_on(day: date) -> str:
    """When and on what kind of machine."""
    memory = psutil.virtual_memory().total / 2**30
    server = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    return (
        f"Measured on {day.isoformat()}: {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}, nats-server {server.removeprefix('v')}."
    )


def _line(row: Row, what: str) -> str:
    required = f"{row.at.replace('least', 'at least').replace('most', 'at most')} {number(row.bound)}"
    verdict = "holds" if row.holds else "**fails**"
    cells = (what, row.figure, row.limit, number(row.ratio), required, verdict)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
