"""The page for newcomers is true: a copy of the project, changed as "A new vendor" says, passes the checks.

Blocks of docs/connectors.md whose fence names a path are the changes: a `diff` is lines to change (`…` at its end is the
rest of a line), any other a new file.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import msgspec
import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "connectors.md"
COPIED = ("agent", "connectors", "events", "schemas", "tests")

_FENCE = re.compile(r"^```(?P<language>\w+) (?P<path>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(msgspec.Struct, frozen=True):
    """What the page says of one file."""

    language: str
    path: str
    text: str


def shown() -> Iterator[Block]:
    """The blocks of the page that name a file, in order."""
    for found in _FENCE.finditer(PAGE.read_text(encoding="utf-8")):
        yield Block(**found.groupdict())


def side(diff: str, mark: str) -> str:
    """The lines of a diff before (`-`) or after (`+`): those with the mark and those with none, without the mark."""
    lines = [line for line in diff.splitlines(keepends=True) if line.startswith((" ", "\n", mark))]
    return "".join(line if line == "\n" else line[1:] for line in lines).removesuffix(" …\n")


def changed(before: str, block: Block) -> str:
    """A file after a diff: the lines it shows as they were must be there once."""
    old = side(block.text, "-")
    times = before.count(old)
    assert times == 1, f"docs/connectors.md changes lines that are in {block.path} {times} times, not once:\n{old}"
    return before.replace(old, side(block.text, "+"))


def test_a_diff_changes_the_lines_it_shows() -> None:
    block = Block("diff", "shop.py", " bread\n\n-milk\n+oats\n")
    assert changed("tea\nbread\n\nmilk\n", block) == "tea\nbread\n\noats\n"


def test_a_diff_keeps_the_rest_of_a_line() -> None:
    assert changed("milk | bread\n", Block("diff", "shop.py", "-milk …\n+tea | milk …\n")) == "tea | milk | bread\n"


def test_a_diff_of_lines_that_are_not_there_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"in shop\.py 0 times"):
        changed("tea\n", Block("diff", "shop.py", "-milk\n+oats\n"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the new vendor in it."""
    project = tmp_path_factory.mktemp("newcomer")
    for folder in COPIED:
        copytree(ROOT / folder, project / folder, ignore=ignore_patterns("__pycache__"))
    copy(ROOT / "pyproject.toml", project)
    for block in shown():
        file = project / block.path
        if block.language == "diff":
            file.write_text(changed(file.read_text(encoding="utf-8"), block), encoding="utf-8")
        else:
            assert not file.exists(), f"docs/connectors.md shows {block.path} as a new file, and there is one"
            file.write_text(block.text, encoding="utf-8")
    return project


def ran(project: Path, *command: str) -> str:
    """What a Python module wrote, run in the copy and away from the pytest around it. It must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"CAMPBOOK_KEY": "sandbox-key-campbook", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files() -> list[str]:
    return sorted({block.path for block in shown() if block.path.endswith(".py")})


def test_the_new_vendor_does_what_every_vendor_does_and_its_own_tests_pass(project: Path) -> None:
    suites = ("tests/connectors/test_conformance.py", "tests/connectors/test_campbook.py")
    told = ran(project, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "-k", "campbook", "-vv", *suites)
    assert "test_pages_are_read_to_the_end[campbook] PASSED" in told


def test_the_new_files_are_in_the_house_format(project: Path) -> None:
    ran(project, "-m", "ruff", "format", "--no-cache", "--check", *files())
    ran(project, "-m", "ruff", "check", "--no-cache", *files())


def test_the_new_files_have_right_types(project: Path) -> None:
    ran(project, "-m", "mypy", "--cache-dir", os.devnull, *files())


def test_the_account_shown_is_one_the_agent_takes(project: Path) -> None:
    check = ("--config", "vendorwire.yaml", "check", "--offline")
    told = ran(project, "-c", "import sys; from agent.cli import main; sys.exit(main())", *check)
    assert "1 account" in told
