"""The papers as tests read them."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SUBSCRIBERS = ROOT / "docs" / "subscribers.md"


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def block(path: Path, language: str, word: str) -> str:
    """The one block of a language that contains a text."""
    (found,) = [each for each in blocks(path, language) if word in each]
    return found


def module(path: Path, word: str, folder: Path) -> ModuleType:
    """The Python block that contains a text, as a module of its own, saved in a folder."""
    file = folder / f"{path.stem}_{re.sub('[^a-z_]', '', word)}.py"
    file.write_text(block(path, "python", word), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
