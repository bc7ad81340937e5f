"""Typed clients: what the guide says to type makes types that checkers take, and that read every event of the fake vendors."""

import importlib.util
import json
import os
import re
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from tests.contract import producing, tools
from tests.contract.publish import PUBLISHED
from tests.papers import ROOT, SUBSCRIBERS, block

PYTHON, TYPESCRIPT = "from vendorwire_events import", 'from "./vendorwire-events"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a subscriber has put the schema."""
    (tmp_path / "events.json").write_bytes((PUBLISHED / "events.json").read_bytes())
    return tmp_path


def test_the_python_types_are_made_checked_and_read_every_event(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = typed_in(folder, "datamodel-codegen", tools.clients() / "bin")
    assert made == ["datamodel-code-generator==0.89.0", "msgspec"]
    (folder / "reading.py").write_text(block(SUBSCRIBERS, "python", PYTHON), encoding="utf-8")
    mypy = [
        str(Path(sys.executable).with_name("mypy")),
        "--strict",
        "--config-file=",
        "reading.py",
        "vendorwire_events.py",
    ]
    tools.ran(mypy, cwd=folder)

    monkeypatch.syspath_prepend(folder)
    reading, types = imported(folder / "reading.py"), imported(folder / "vendorwire_events.py")
    monkeypatch.setitem(sys.modules, "vendorwire_events", types)
    for event in producing.events():
        read = reading.read(json.dumps(event).encode())
        assert type(read).__name__ == "".join(word.capitalize() for word in re.split(r"[._]", event["type"]))
        assert json.loads(msgspec.json.encode(read))["data"].keys() == event["data"].keys()
    cancelled = example("booking.cancelled")
    record = reading.read(json.dumps(cancelled).encode()).data.record
    assert record.arrival.isoformat() == cancelled["data"]["record"]["arrival"]
    before = cancelled["data"]["changes"]["total"]["before"]
    told = f"booking {cancelled['subject']} is cancelled: {Decimal(before['amount'])} {before['currency']} less"
    assert reading.news(json.dumps(cancelled).encode()) == told
    assert reading.news(json.dumps(example("device.offline")).encode()).startswith("nothing heard of ")
    assert reading.news(json.dumps({**cancelled, "type": "booking.moved"}).encode()) == "something new"


def test_the_typescript_types_are_made_checked_and_read_every_event(folder: Path) -> None:
    installed = tools.npm() / "node_modules"
    (folder / "node_modules").symlink_to(installed)
    made = typed_in(folder, "npx", installed / ".bin")
    wanted = json.loads((tools.HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert made == [f"{name}@{wanted[name]}" for name in ("json-schema-to-typescript", "typescript")]
    source = block(SUBSCRIBERS, "ts", TYPESCRIPT)
    wrong = source.replace("event.data.changes.total", "event.data.changes.totl")
    (folder / "reading.ts").write_text(source, encoding="utf-8")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    compiler = [str(installed / ".bin" / "tsc"), "--strict", "--target", "es2022", "--module", "preserve", "reading.ts"]
    tools.ran([*compiler, "--outDir", "out"], cwd=folder)

    events = producing.events()
    (folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events), encoding="utf-8")
    (folder / "run.mjs").write_text(
        'import { readFileSync } from "node:fs";\nimport { news } from "./out/reading.js";\n'
        'for (const line of readFileSync("events.jsonl", "utf8").trimEnd().split("\\n")) console.log(news(line));\n'
    )
    told = tools.ran(["node", "run.mjs"], cwd=folder).splitlines()
    assert len(told) == len(events)
    cancelled = example("booking.cancelled")
    before = cancelled["data"]["changes"]["total"]["before"]
    assert f"booking {cancelled['subject']} is cancelled: {before['amount']} {before['currency']} less" in told
    assert any(re.fullmatch(r"\d+ measurements of \d+", line) for line in told)

    (folder / "reading.ts").write_text(wrong, encoding="utf-8")
    with pytest.raises(AssertionError, match="totl"):
        tools.ran([*compiler, "--noEmit"], cwd=folder)


def test_no_generator_is_needed_to_run_vendorwire() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        assert "datamodel-code-generator" not in (ROOT / name).read_text(encoding="utf-8")


def typed_in(folder: Path, word: str, commands: Path) -> list[str]:
    """Type what the block with this word says, where its tools are installed; returns what it says to install."""
    text = block(SUBSCRIBERS, "sh", word)
    install, _, rest = text.partition("\n")
    assert re.match(r"(pip|npm) install ", install)
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    tools.ran(["bash", "-euc", rest], cwd=folder, env=environment)
    return [each for each in install.split()[2:] if not each.startswith("--")]


def imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def example(name: str) -> Any:
    """The published one."""
    return json.loads((PUBLISHED / "examples.json").read_text(encoding="utf-8"))[name]
