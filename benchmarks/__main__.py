"""Every benchmark, one after the other, each in a process of its own: `python -m benchmarks [--smoke] [--only NAME]`.

Prints one table, writes docs/performance.md (not of a smoke), and ends with 1 where a row does not hold.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec

import anyio
import msgspec

from benchmarks import report
from benchmarks.peers import INSTALLED
from benchmarks.support import ROOT, Row

MODULES = (
    *("unchanged", "changed", "first_sync", "size", "accounts"),
    *("publishing", "deliveries", "soak", "lag", "end_to_end", "idle"),
)
PEERS = "peers"
PATIENCE = 300.0  # seconds for one benchmark
PAGE = ROOT / "docs" / "performance.md"
_row = msgspec.json.Decoder(Row)


def present(modules: Sequence[str] = MODULES) -> list[str]:
    """The benchmarks that are there."""
    return [name for name in modules if find_spec(f"benchmarks.{name}")]


async def measured(name: str, *, smoke: bool) -> list[Row]:
    """The rows of one benchmark; one that fails is a row that says so."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--smoke"] if smoke else [])]
    with anyio.move_on_after(PATIENCE):
        done = await anyio.run_process(command, cwd=ROOT, check=False)
        rows = [_row.decode(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
        if done.returncode == 0 and rows:
            return rows
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
        return [*rows, _failed(name, last.replace(f"{ROOT}/", ""))]
    return [_failed(name, f"not done within {PATIENCE:g} s")]


def _failed(name: str, why: str) -> Row:
    return Row(group=name, what="the benchmark itself", figure="failed", limit=why, ratio=0, bound=1, at="least")


async def main(only: str | None, *, smoke: bool) -> int:
    """Run them; the exit status."""
    rows: dict[str, list[Row]] = {}
    for name in [only] if only else [*present(), *([PEERS] if INSTALLED else [])]:
        started = time.monotonic()
        rows[name] = await measured(name, smoke=smoke)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    every = [row for some in rows.values() for row in some]
    print(report.table(every))
    if not INSTALLED and not only:
        print("rivals: skipped, `make bench-peers` installs and runs them", file=sys.stderr)
    if not smoke:
        await _keep(rows)
    fallen = [row for row in every if not row.holds and (not smoke or row.figure == "failed")]
    for row in fallen:
        print(f"does not hold: {row.group}: {row.what} ({row.figure}, {row.limit})", file=sys.stderr)
    return 1 if fallen else 0


async def _keep(rows: dict[str, list[Row]]) -> None:
    """Write the page; after a run of one benchmark only where that is the rivals'."""
    page = anyio.Path(PAGE)
    kept = await page.read_text() if await page.exists() else ""
    made = report.made_on(datetime.now(UTC).date())
    own = [row for name, some in rows.items() if name != PEERS for row in some]
    if len(rows) > 1:
        kept = report.page(own, made, kept)
    if PEERS in rows:
        kept = report.page_with_rivals(rows[PEERS], made, kept)
    if len(rows) > 1 or PEERS in rows:
        await page.write_text(kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, and nothing is judged or kept")
    parser.add_argument("--only", metavar="NAME", help="this one alone")
    arguments = parser.parse_args()
    sys.exit(anyio.run(lambda: main(arguments.only, smoke=arguments.smoke)))
