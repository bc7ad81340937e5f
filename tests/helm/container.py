"""A container without an engine: the Dockerfile's own steps carried out into a folder, and programs run in it as a hardened
pod runs them. Linux, as root: the steps and the pod's confinement need mounts and users of their own.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = Path("/etc/vendorwire/vendorwire.yaml")  # where a program in the container finds its configuration
UID = 65534
DEADLINE = 30.0
MISSING = "running a container's steps needs Linux, root, unshare, mount and ldd (Debian: util-linux, mount, libc-bin)"


class Instruction(NamedTuple):
    """One of a Dockerfile's, in one line: `COPY`, `requirements.txt ./`."""

    name: str
    value: str


class Image(NamedTuple):
    """The root file system that the last stage copies, and where in it the agent's environment lies."""

    root: Path
    prefix: Path
    environment: Mapping[str, str]  # what the last stage sets

    @property
    def packages(self) -> Path:
        """Where its Python packages are."""
        (folder,) = (self.root / self.prefix.relative_to("/")).glob("lib/*/site-packages")
        return folder

    def files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink()]

    def confined(self, shown: Path, program: str = "vendorwire", uid: int = UID) -> list[str]:
        """What runs a program in it: nothing writable, `shown` beside its configuration, an arbitrary user, no privileges."""
        told = {**self.environment, "PATH": str(self.prefix / "bin")}
        spelled = [f"{name}={value}" for name, value in told.items()]
        confine = [sys.executable, str(Path(__file__).with_name("confine.py"))]
        where = [str(self.root), str(shown), str(CONFIG.parent), str(uid)]
        return ["unshare", "--mount", *confine, *where, *spelled, str(self.prefix / "bin" / program)]

    def run(
        self, shown: Path, *words: str, program: str = "vendorwire", uid: int = UID
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in it to its end, confined."""
        command = [*self.confined(shown, program, uid), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def instructions(text: str) -> list[Instruction]:
    """What a Dockerfile tells, without its comments."""
    bare = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", bare).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


def stages() -> tuple[list[Instruction], list[Instruction]]:
    """The builder's instructions and those of the image itself, each without its FROM."""
    told = instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    one, two = (number for number, each in enumerate(told) if each.name == "FROM")
    return told[one + 1 : two], told[two + 1 :]


def settings(told: Sequence[Instruction], name: str) -> dict[str, str]:
    """All that ENV or LABEL sets."""
    return dict(word.split("=", 1) for each in told if each.name == name for word in shlex.split(each.value))


def build(folder: Path) -> Image:
    """Carry out the builder's steps: its files lie where COPY puts them, its paths begin in `folder`."""
    needs_root()
    builder, last = stages()
    source = folder / "src"
    source.mkdir(parents=True)
    places = {"PREFIX": folder / "opt", "TOOLS": folder / "tools", "IMAGE": folder / "image"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "BASE": f"python@sha256:{'0' * 64}"}
    for name, value in builder:
        match name:
            case "ARG":
                environment |= dict([shlex.split(value)[0].split("=", 1)] if "=" in value else [])
            case "ENV":
                set_ = settings([Instruction(name, value)], "ENV")
                environment |= {key: Template(word).substitute(environment) for key, word in set_.items()}
                environment |= {key: str(place) for key, place in places.items()}
            case "COPY":
                _copy(source, *value.split())
            case "RUN":
                done = in_shell(value, source, environment)
                assert done.returncode == 0, f"{value}\n{done.stdout}{done.stderr}"
    for used in (source, places["PREFIX"], places["TOOLS"]):
        shutil.rmtree(used)
    return Image(places["IMAGE"], places["PREFIX"], settings(last, "ENV"))


def in_shell(step: str, cwd: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A RUN line as a shell takes it; what it mounts is the engine's."""
    bare = re.sub(r"--mount=\S+ +", "", step)
    return subprocess.run(["sh", "-c", bare], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def _copy(folder: Path, *words: str) -> None:
    *sources, to = words
    for each in sources:
        if (ROOT / each).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / each, folder / to, ignore=ignored, dirs_exist_ok=True)
        else:
            (folder / to).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / each, folder / to)


def needs_root() -> None:
    """Skips the test where it cannot be run; in continuous integration that is a failure."""
    tools = ("unshare", "mount", "ldd", "ldconfig", "chroot", "dpkg-query")
    if os.geteuid() != 0 or not all(map(shutil.which, tools)):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
