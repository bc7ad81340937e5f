"""What is in the image, for whoever must answer for it: a CycloneDX bill of materials and a list of licences.

    python sbom.py PREFIX ROOT

To the Python packages of the environment PREFIX come Python itself, the console's libraries from npm, and the Debian packages
whose files are in ROOT. Both papers are written to ROOT/usr/share/vendorwire. What is no valid CycloneDX 1.6 fails the build.
"""

import json
import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

Json = dict[str, Any]


def main(prefix: Path, root: Path) -> None:
    bom = _environment(prefix / "bin" / "python")
    records = [Parser().parsestr(path.read_text()) for path in sorted((root / "var/lib/dpkg/status.d").glob("*"))]
    bom["components"] += [_python(), *_of_the_console(), *map(_debian, records)]
    text = json.dumps(bom, indent=1, sort_keys=True) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SystemExit(f"no valid CycloneDX: {error}")
    folder = root / "usr" / "share" / "vendorwire"
    folder.mkdir(parents=True)
    (folder / "sbom.cdx.json").write_text(text)
    listed = sorted(f"{each['name']} {each['version']}: {_licence(each)}" for each in bom["components"])
    (folder / "licences.txt").write_text("\n".join([*listed, ""]))


def _environment(python: Path) -> Json:
    """The packages of an environment, as cyclonedx-py tells them."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--spec-version", "1.6"]
    command += ["--pyproject", "pyproject.toml", str(python)]
    told: Json = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return told


def _python() -> Json:
    version = sys.version.split()[0]
    return {
        "type": "platform",
        "bom-ref": "python",
        "name": "python",
        "version": version,
        "purl": f"pkg:generic/python@{version}",
        "cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        "licenses": [{"license": {"id": "PSF-2.0"}}],
    }


def _of_the_console() -> list[Json]:
    lock = json.loads(Path("agent/console/page/vendor/package-lock.json").read_text())
    return [
        {
            "type": "library",
            "bom-ref": (purl := f"pkg:npm/{path.removeprefix('node_modules/')}@{each['version']}"),
            "name": path.removeprefix("node_modules/"),
            "version": each["version"],
            "purl": purl,
            "licenses": [{"license": {"id": each["license"]}}],
        }
        for path, each in lock["packages"].items()
        if path
    ]


def _debian(record: Message) -> Json:
    name, version = record["Package"], record["Version"]
    purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={record['Architecture']}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _licence(component: Json) -> str:
    """As its author declares it: an SPDX expression or id where there is one, else the words of its classifiers."""
    if component.get("purl", "").startswith("pkg:deb/"):
        return f"see /usr/share/doc/{component['name']}/copyright"
    told = component.get("licenses", [])
    exact = [each.get("expression") or each["license"].get("id") for each in told]
    words = [
        each["license"]["name"].rpartition(" :: ")[2]
        for each in told
        if "license" in each and "name" in each["license"]
    ]
    return " AND ".join(filter(None, exact)) or ", ".join(words) or "see its dist-info/licenses"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
