"""The papers are true: their configurations load, their commands exist, their links lead somewhere, their Python runs."""

import argparse
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.arguments import parser
from agent.configfile import load
from agent.metrics import Metrics
from agent.starter import STARTER
from connectors.octorate import Octorate
from events.signing import generate
from schemas.changes import Scope
from schemas.facts import StorageState
from schemas.settings import Secret
from tests.papers import PAPERS, ROOT, blocks

SCOPE = Scope("octorate", "hotel-roma", "property")


def configurations() -> Iterator[Any]:
    yield pytest.param(STARTER, id="starter")
    for path in PAPERS:
        for number, block in enumerate(blocks(path, "yaml"), 1):
            yield pytest.param(block, id=f"{path.name}-{number}")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person who runs the examples has set."""
    for name in ("OCTORATE_ID", "OCTORATE_SECRET", "OCTORATE_REFRESH", "OCTORATE_HINT"):
        monkeypatch.setenv(name, "sandbox-value-that-is-long")
    monkeypatch.setenv("CRM_SECRET", generate())


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("text", list(configurations()))
def test_each_configuration_shown_is_one_the_agent_takes(text: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(generate())
    file = tmp_path / "vendorwire.yaml"
    file.write_text(re.sub(r"\$\{file:[^}]*\}", f"${{file:{secret}}}", text), encoding="utf-8")
    assert load(file).accounts


def commands_shown(path: Path) -> set[str]:
    """`vendorwire …` in code spans, and at the start of lines in fenced blocks."""
    text = path.read_text(encoding="utf-8")
    fences = re.findall(r"^```(?:sh|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ").partition("  #")[0] for block in fences for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return {each.strip() for each in (*lines, *spans) if each.startswith("vendorwire ")}


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.name)
def test_each_command_shown_can_be_typed(path: Path) -> None:
    refused = []
    for line in commands_shown(path):
        try:
            parser().parse_args(shlex.split(line)[1:])
        except (SystemExit, argparse.ArgumentError) as error:
            if not (isinstance(error, SystemExit) and error.code == 0):  # --help and --version end with 0
                refused.append(line)
    assert refused == []


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.name)
def test_each_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_metric_is_explained_and_no_other() -> None:
    metrics = Metrics("1")
    metrics.declare([SCOPE], ["crm"])
    metrics.observe(StorageState(used=0, limit=1))  # absent where there is no limit
    exposed = set(re.findall(r"^# HELP (vendorwire_\w+)", metrics.render("")[0].decode(), re.MULTILINE))
    table = re.findall(r"^\| `(vendorwire_\w+)` \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert set(table) == exposed


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    names = {re.split(r"[\[>=]", requirement)[0] for requirement in wanted}
    given = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z.-]+)`", given, re.MULTILINE)) == names


def test_signing_in_goes_as_shown() -> None:
    account = Octorate(
        name="hotel-roma", client_id="id", client_secret=Secret("secret"), refresh_token=Secret("refresh")
    )
    (block,) = blocks(ROOT / "docs" / "connectors.md", "python")
    found: dict[str, Any] = {"account": account, "httpx": httpx}
    with suppress(StopIteration):
        exec(compile(block, "connectors.md", "exec"), found)
    assert found["request"].url.path == "/connect/rest/v1/identity/refresh"
    assert repr(found["token"]) == "Token(***, lifetime=86400)"


def test_the_walkthroughs_python_is_python() -> None:
    for block in blocks(ROOT / "docs" / "walkthrough.md", "python"):
        compile(block, "walkthrough.md", "exec")


def test_the_walkthroughs_json_is_json() -> None:
    text = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
    bodies = re.findall(r"curl .*?-d '([^']+)'", text)
    assert bodies
    assert all(isinstance(json.loads(body), dict) for body in bodies)
