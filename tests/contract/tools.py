"""Tools from npm and PyPI that only tests of the contract use, each installed once, beside the tree's own environment.

They are locked (tests/contract/package-lock.json and requirements.txt); another lock installs them anew. Tests that run side
by side wait for one another.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.papers import ROOT

HERE = Path(__file__).parent
NPM, CLIENTS = ROOT / ".npm-contract", ROOT / ".venv-clients"
_NPM_FILES = ("package.json", "package-lock.json", ".npmrc")
_REQUIREMENTS = HERE / "requirements.txt"


def npm() -> Path:
    """The folder of what npm installed: the tools are in `node_modules/.bin`."""
    if shutil.which("npm") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the contract's tools need Node 20 or newer, with npm")

    def install() -> None:
        for name in _NPM_FILES:
            shutil.copy(HERE / name, NPM)
        ran(["npm", "ci", "--silent", "--prefer-offline"], cwd=NPM)

    _once(NPM, [HERE / name for name in _NPM_FILES], install)
    return NPM


def clients() -> Path:
    """The environment with what makes Python of schemas."""

    def install() -> None:
        ran([sys.executable, "-m", "venv", "--clear", str(CLIENTS)])
        pip = [str(CLIENTS / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        ran([*pip, "--require-hashes", "-r", str(_REQUIREMENTS)])

    _once(CLIENTS, [_REQUIREMENTS], install)
    return CLIENTS


def ran(command: Sequence[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def _once(folder: Path, locks: Sequence[Path], install: Callable[[], None]) -> None:
    """Install into a folder, unless what these files lock is there already."""
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in locks)).hexdigest()
    stamp = folder / ".installed"
    (ROOT / ".pytest_cache").mkdir(exist_ok=True)
    with _alone(ROOT / ".pytest_cache" / f"{folder.name}.lock"):
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        folder.mkdir(exist_ok=True)
        install()
        stamp.write_text(wanted)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
