"""What a rival that compares by itself keeps: each booking's key and hash in SQLite; and how a rival is asked to poll.

Imports nothing of ours: it runs in the rivals' environment.
"""

import argparse
import json
import resource
import sqlite3
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


class Known:
    """Keys and hashes in a SQLite file. A poll reads them at once, compares in memory, and writes what changed at once."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "known.sqlite")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS known (key INTEGER PRIMARY KEY, hash BLOB)")

    def changed(self, records: Iterable[tuple[int, bytes]]) -> int:
        """How many of these are new or have another hash; they are remembered."""
        known = dict(self._db.execute("SELECT key, hash FROM known"))
        news = [(key, digest) for key, digest in records if known.get(key) != digest]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO known VALUES (?, ?)", news)
        return len(news)


def asked(poll: Callable[[], int]) -> None:
    """Poll once for each line on the standard input, and answer with the changes found and the processor seconds taken."""
    print("ready", flush=True)
    for _ in sys.stdin:
        started = _processor()
        changes = poll()
        print(json.dumps({"changes": changes, "processor": _processor() - started}), flush=True)


def arguments() -> argparse.Namespace:
    """`vendor`: its address; `page`: how many bookings on one; `folder`: for whatever is kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vendor", required=True)
    parser.add_argument("--page", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    return parser.parse_args()


def _processor() -> float:
    """Of this process and of those it started and waited for."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
