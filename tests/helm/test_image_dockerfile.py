"""What the Dockerfile says: a pinned base, hashes, nobody's user, and nothing that a builder need not see."""

import re
import tomllib

import pytest

from tests.helm.container import ROOT, in_shell, instructions, settings, stages

DOCKERFILE = instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BASE = "python:3.13-slim"


def test_the_base_is_an_argument_and_the_image_itself_has_none() -> None:
    assert [each.value for each in DOCKERFILE if each.name == "FROM"] == ["${BASE} AS builder", "scratch"]


@pytest.mark.parametrize("base", ["", BASE, f"{BASE}@sha256:abc", "python:latest"])
def test_a_base_that_is_not_pinned_by_its_digest_fails_with_a_sentence(base: str) -> None:
    done = in_shell(first_step(), ROOT, {"BASE": base})
    assert (done.returncode, done.stdout) == (1, "")
    assert f"BASE is '{base}': pin it by digest" in done.stderr


def test_a_base_that_is_pinned_by_its_digest_is_taken() -> None:
    assert in_shell(first_step(), ROOT, {"BASE": f"{BASE}@sha256:{'0123456789abcdef' * 4}"}).returncode == 0


def test_the_image_runs_as_nobody_and_says_what_it_is() -> None:
    _, image = stages()
    told = {each.name: each.value for each in image}
    assert told["USER"] == "65534:65534"
    assert told["ENTRYPOINT"] == '["vendorwire"]'
    assert told["EXPOSE"] == "8787"
    assert told["STOPSIGNAL"] == "SIGTERM"
    assert {"HEALTHCHECK", "RUN"}.isdisjoint(told)
    labels = {name.removeprefix("org.opencontainers.image."): word for name, word in settings(image, "LABEL").items()}
    assert labels == {
        "title": "Vendorwire",
        "description": PROJECT["description"],
        "licenses": PROJECT["license"],
        "version": PROJECT["version"],
        "revision": "$REVISION",
    }


def test_nothing_comes_in_but_from_this_folder_and_from_the_lock() -> None:
    assert [each for each in DOCKERFILE if each.name == "ADD" or "://" in each.value] == []
    copies = [each.value for each in DOCKERFILE if each.name == "COPY"]
    assert [copy for copy in copies if "--from" in copy] == ["--from=builder /image /"]
    assert not [word for copy in copies for word in copy.split() if word == "." or ".." in word]


def test_pip_installs_by_hash_or_without_an_index() -> None:
    commands = [part for each in DOCKERFILE for part in each.value.split("&&") if "pip " in part]
    installs = [part for part in commands if " install " in part]
    assert len(installs) == 4
    assert [part for part in installs if "--require-hashes" not in part and "--no-index --no-deps" not in part] == []
    builds = [part for part in installs if "--only-binary :all:" not in part or "--no-binary" in part]
    assert [part for part in builds if "--no-build-isolation" not in part] == []


def test_neither_arguments_nor_the_environment_hold_secrets() -> None:
    names = [re.findall(r"(\w+)=|^(\w+)$", each.value) for each in DOCKERFILE if each.name in ("ARG", "ENV")]
    told = {one or other for pairs in names for one, other in pairs}
    assert {"BASE", "PATH"} <= told
    assert [name for name in told if re.search("key|token|pass|secret|user|index|proxy", name, re.IGNORECASE)] == []


def test_what_is_copied_is_let_in_and_nothing_else() -> None:
    builder, _ = stages()
    copied = {word for each in builder if each.name == "COPY" for word in each.value.split()[:-1]}
    first, *lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert copied == let_in | {"helm/image/requirements.txt"}
    assert {line for line in lines if not line.startswith("!")} == {"**/__pycache__"}


def first_step() -> str:
    """The first RUN of the builder."""
    return next(each.value for each in DOCKERFILE if each.name == "RUN")
