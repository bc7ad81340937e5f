"""The files that the agent needs, and no others: what the final stage of the image is made of.

    python3 closure.py PREFIX ROOT

PREFIX is a virtual environment with the agent in it. In ROOT, which must not exist yet, its files get the places they have
here: the environment, its Python with the standard library, each shared object that any of these is linked with, and the
few files of /etc that they read. The records of the Debian packages they come from go with them, for scanners.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

PROGRAMS = ("python", "vendorwire", "nats-server")  # of the environment's commands; the last only where it was kept
COMPILED = ("__pycache__",)  # compiled anew, so that two builds give the same bytes
# Parts of the standard library that no agent runs; some would bring the libraries of terminals and databases along.
UNUSED = (
    *(*COMPILED, "config-*", "dist-packages", "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data"),
    *("site-packages", "test", "tests", "tkinter", "turtledemo"),
    *("_crypt.*", "_ctypes_test.*", "_curses*", "_dbm.*", "_gdbm.*", "_sqlite3.*", "_test*", "_tkinter.*"),
    *("nis.*", "readline.*", "xx*"),
)
LOADED_BY_NAME = ("libgcc_s.so.1",)  # by glibc when a thread ends; no program is linked with it
NOBODY = (
    (Path("/etc/passwd"), "nobody:x:65534:65534:nobody:/nonexistent:/nonexistent\n"),
    (Path("/etc/group"), "nobody:x:65534:\n"),
)


class Root:
    """A root file system that grows file by file. Only programs are executable, and only their owner may write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: set[Path] = set()  # where its files are here
        os.umask(0o022)
        folder.mkdir(parents=True)

    def take(self, path: Path, *, program: bool = False) -> None:
        """Copy a file to its own place, with each link on the way to it."""
        here = Path("/")
        for number, part in enumerate(path.parts[1:], 2):
            here /= part
            if here.is_symlink():
                there = self._place(here)
                if not there.is_symlink():
                    there.symlink_to(here.readlink())
                aim = Path(os.path.normpath(here.parent / here.readlink()))
                return self.take(aim.joinpath(*path.parts[number:]), program=program)
        if path not in self.taken:
            self.taken.add(path)
            self.write(path, path.read_bytes(), program=program)
        return None

    def write(self, path: Path, content: bytes, *, program: bool = False) -> None:
        file = self._place(path)
        file.write_bytes(content)
        file.chmod(0o755 if program else 0o644)

    def _place(self, path: Path) -> Path:
        place = self.folder / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def build(prefix: Path, folder: Path) -> None:
    root = Root(folder)
    for name in PROGRAMS:
        if (prefix / "bin" / name).exists():
            root.take(prefix / "bin" / name, program=True)
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in (prefix / "pyvenv.cfg", *_files(prefix / "lib", COMPILED), *_files(library, UNUSED)):
        root.take(path)
    objects = _linked(root.taken)
    for path in objects:
        root.take(path, program=path.name.startswith("ld-"))
    _write_etc(root, prefix, objects)
    for package in _packages(path for path in root.taken if not path.is_relative_to(prefix)):
        name = package.partition(":")[0]
        root.write(Path("/var/lib/dpkg/status.d", name), _output("dpkg-query", "--status", package).encode())
        if (terms := Path("/usr/share/doc", name, "copyright")).exists():
            root.take(terms)
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / "tmp").chmod(0o1777)


def _files(folder: Path, unused: Sequence[str]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if not any(fnmatch(path.name, pattern) for pattern in unused):
            yield from _files(path, unused) if path.is_dir() and not path.is_symlink() else [path]


def _linked(files: Iterable[Path]) -> set[Path]:
    """The shared objects that files are linked with, as `ldd` finds them here."""
    programs = sorted(str(path) for path in files if path.read_bytes()[:4] == b"\x7fELF")
    told = _output("ldd", *programs, accepted=(0, 1))  # 1: one of them is linked with nothing
    if missing := [line.strip() for line in told.splitlines() if "not found" in line]:
        raise SystemExit("libraries are missing here: " + ", ".join(missing))
    found = {Path(name) for name in re.findall(r"(/\S+) \(0x", told)}
    return found | {
        path.with_name(name) for path in found if path.name.startswith("libc.so") for name in LOADED_BY_NAME
    }


def _write_etc(root: Root, prefix: Path, objects: Iterable[Path]) -> None:
    """Who we are, where names are looked up, whom we trust, and where the shared objects lie."""
    for path, text in (*NOBODY, (Path("/etc/nsswitch.conf"), "hosts: files dns\n")):
        root.write(path, text.encode())
    (authorities,) = prefix.glob("lib/*/site-packages/certifi/cacert.pem")
    root.write(Path("/etc/ssl/certs/ca-certificates.crt"), authorities.read_bytes())
    root.take(Path("/etc/os-release"))
    folders = sorted({str(path.parent) for path in objects})
    root.write(Path("/etc/ld.so.conf"), "".join(f"{folder}\n" for folder in folders).encode())
    _output("ldconfig", "-X", "-r", str(root.folder))
    shutil.rmtree(root.folder / "var", ignore_errors=True)  # what ldconfig keeps for its next run


def _packages(files: Iterable[Path]) -> list[str]:
    """The Debian packages they come from; a record may name a file by a path that begins with a link."""
    names = [name for path in files for name in (str(path), str(path).removeprefix("/usr"))]
    told = _output("dpkg-query", "--search", *names, accepted=(0, 1))  # 1: some belong to none
    return sorted({line.partition(": ")[0] for line in told.splitlines()})


def _output(*command: str, accepted: Sequence[int] = (0,)) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in accepted:
        raise SystemExit(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
