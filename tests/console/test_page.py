"""The page's files, without a browser: what they may hold, and that the libraries in them are npm's."""

import json
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.console import vendored
from tests.console.vendored import HERE, KEPT, LOCK

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "agent/console/page"
OURS = sorted(path for path in PAGE.rglob("*.js") if path.parent != HERE)
HTML_FROM_TEXT = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc")
ELSEWHERE = re.compile(r"""https?://(?!www\.w3\.org/)[^\s"'`]+""")


def test_the_libraries_are_those_of_the_npm_packages_in_the_lock(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("comparing the page's libraries needs npm")
    assert {name: (HERE / name).read_bytes() for name in KEPT} == vendored.files(tmp_path)


def test_the_lock_has_digests_and_names_no_place_to_download_from() -> None:
    text = (HERE / LOCK).read_text()
    packages = {name: each for name, each in json.loads(text)["packages"].items() if name}
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    assert {name.removeprefix("node_modules/"): each["version"] for name, each in packages.items()} == wanted
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert "resolved" not in text


def test_each_library_has_its_licence_beside_it() -> None:
    libraries = {path.stem for path in HERE.glob("*.js")} - {"hooks"}  # which is preact's
    assert {path.stem for path in HERE.glob("*.LICENSE")} == libraries


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(PAGE).as_posix())
def test_a_module_makes_no_html_of_text_and_asks_no_other_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert HTML_FROM_TEXT.findall(text) == []
    assert [each for each in ELSEWHERE.findall(text) if "127.0.0.1" not in each] == []
    missing = [
        name
        for name in re.findall(r"""(?:from|import\()\s*["'](\.[^"']+)""", text)
        if not (path.parent / name).is_file()
    ]
    assert missing == []


def test_the_document_has_nothing_inline_and_every_file_it_names() -> None:
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", text) == []
    named = re.findall(r'(?:src|href)="/static/HASH/([^"]+)"', text)
    assert named
    assert [name for name in named if not (PAGE / name).is_file()] == []


def test_an_installation_brings_the_page() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "agent.console"
    ]
    brought = {path for pattern in patterns for path in (ROOT / "agent/console").glob(pattern) if path.is_file()}
    assert {path for path in PAGE.rglob("*") if path.is_file()} <= brought
