"""What the tests of the image share: one image, built once a run."""

import fcntl
import json
from pathlib import Path

import pytest

from tests.helm.container import Image, build


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Image:
    """The Dockerfile's image. The first worker that asks for it builds it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "image"
    with (folder.with_suffix(".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = folder / "built.json"
        if not built.exists():
            image = build(folder / "work")
            built.write_text(json.dumps([str(image.root), str(image.prefix), dict(image.environment)]))
        root, prefix, environment = json.loads(built.read_text())
    return Image(Path(root), Path(prefix), environment)
