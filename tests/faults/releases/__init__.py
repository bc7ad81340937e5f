"""What earlier releases wrote, and their code: each in a folder named after its commit.

`bus.jsonl`: everything on the bus (see `bus`). `scene.json`: what was done to the vendors meanwhile (see `scene`).
`code.tar.xz`: the release itself, to step back to it; a clone without history has it too.

To keep what the present commit writes, for the releases to come: `.venv/bin/python -m tests.faults.releases.record`.
"""

import base64
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
KEY = base64.b64encode(b"an invented key of no worth, 32b").decode()
"""The VENDORWIRE_KEY with which the tokens were stored."""


def unpack(release: str, folder: Path) -> Path:
    """A release's code, in a folder from which it can be run."""
    with tarfile.open(HERE / release / "code.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder
