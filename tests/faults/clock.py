"""The wall clock of one agent, moved under it while it runs. Its monotonic clock goes on as it was, as after a step of NTP."""

import os
from pathlib import Path

import pytest

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
MISSING = "clock jumps need the Debian package libfaketime"


class WallClock:
    """Starts at the true time. `env` is for the agent's process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump("+0")

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, to: str) -> None:
        """How far it is off from now on: `+2h`, `-2h`."""
        written = self._file.with_suffix(".new")
        written.write_text(to)
        written.replace(self._file)


def wall_clock(file: Path) -> WallClock:
    """Skips the test where the library is not installed; in continuous integration that is a failure."""
    if LIBRARY is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    return WallClock(file)
