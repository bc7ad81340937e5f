"""A disk so small that it can be filled, for a nats-server that is started on it. Linux; needs no root, but user namespaces."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOUNT = 'mount -t tmpfs -o size="$1" none "$0" && echo mounted && exec sleep infinity'


class SmallDisk:
    """`within` begins a command that sees the disk."""

    def __init__(self, folder: Path, holder: int) -> None:
        self._filler = folder / "filler"
        self.within = ["nsenter", f"--target={holder}", "--user", "--preserve-credentials", "--mount"]

    def fill(self) -> None:
        """To the last byte."""
        command = [*self.within, "dd", "if=/dev/zero", f"of={self._filler}", "bs=4096"]
        assert "No space left" in subprocess.run(command, capture_output=True, text=True, check=False).stderr

    def free(self) -> None:
        subprocess.run([*self.within, "rm", self._filler], check=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """It is mounted on `folder` where its own processes look, and gone with them."""
    folder.mkdir(parents=True)
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(folder), size]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "mounted\n", "user namespaces are not allowed on this machine"
            yield SmallDisk(folder, holder.pid)
        finally:
            holder.kill()
