"""The libraries of the console's page, taken from npm: `python -m tests.console.vendored` brings them anew.

Their versions and the digests of their packages stand in `agent/console/page/vendor/package-lock.json`, which names no
place to download from. To take a newer one: change its number in `package.json`, run this, look at the page.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parents[2] / "agent/console/page/vendor"
LOCK = "package-lock.json"
NPM = ("npm", "--no-audit", "--no-fund", "--ignore-scripts", "--omit-lockfile-registry-resolved", "--loglevel=error")

# What is kept here, and what it is in its package.
KEPT = {
    "preact.js": "preact/dist/preact.mjs",
    "hooks.js": "preact/hooks/dist/hooks.mjs",
    "htm.js": "htm/dist/htm.mjs",
    "uplot.js": "uplot/dist/uPlot.esm.js",
    "uplot.css": "uplot/dist/uPlot.min.css",
    "preact.LICENSE": "preact/LICENSE",
    "htm.LICENSE": "htm/LICENSE",
    "uplot.LICENSE": "uplot/LICENSE",
}
# A browser resolves no bare names, and a map of them would have to stand inline, which the page's policy forbids.
BARE = (b'from"preact"', b'from"./preact.js"')


def files(folder: Path) -> dict[str, bytes]:
    """What is to be kept, from the packages that npm installs into `folder` by the lock beside the kept files."""
    for name in ("package.json", LOCK):
        shutil.copy(HERE / name, folder)
    subprocess.run([*NPM, "ci"], cwd=folder, check=True, capture_output=True)
    return {name: (folder / "node_modules" / path).read_bytes().replace(*BARE) for name, path in KEPT.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copy(HERE / "package.json", folder)
        subprocess.run([*NPM, "install", "--package-lock-only"], cwd=folder, check=True, capture_output=True)
        shutil.copy(folder / LOCK, HERE)
        for name, content in files(folder).items():
            (HERE / name).write_bytes(content)


if __name__ == "__main__":
    main()
