"""The house rules a machine can keep: which floor imports what, what a requirements file may say, and no secrets."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).parent.parent
FLOORS = ("agent", "connectors", "events", "schemas")
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "requirements.in")

# Each import package from outside, and the only files that may import it. A new dependency needs a line here, and a
# reason in docs/architecture.md.
ALLOWED = {
    "aiodns": ("events/webhook.py",),
    "aiohttp": (
        *("connectors/http.py", "connectors/sandbox/serve.py", "events/webhook.py"),
        *("agent/consent.py", "agent/console/*", "agent/hooks.py", "agent/http.py", "agent/receiver.py"),
    ),
    "anyio": ("agent/*", "connectors/*", "events/*"),
    "cryptography": ("agent/vault.py", "events/signing.py"),
    "httpx": ("connectors/*", "agent/signin.py", "agent/vendors.py"),
    "httpx_aiohttp": ("connectors/http.py",),
    "msgspec": ("agent/*", "connectors/*", "events/*", "schemas/*"),
    "nats": ("events/jetstream/*",),
    "nkeys": ("events/jetstream/*",),
    "prometheus_client": ("agent/metrics.py", "agent/meters.py", "agent/busmeters.py"),
    "rich": ("agent/*",),
    "ruamel": ("agent/yamltree.py",),
    "xxhash": ("agent/recognised.py", "connectors/*", "events/diff.py"),
    "yarl": ("events/webhook.py",),
}
# What these find has a shape of its own, so that a find is a secret. Entropy alone also finds hashes and digests.
DETECTORS = (
    *("AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "GitHubTokenDetector", "GitLabTokenDetector"),
    *("JwtTokenDetector", "KeywordDetector", "NpmDetector", "PrivateKeyDetector", "PypiTokenDetector"),
    *("SendGridDetector", "SlackDetector", "StripeDetector", "TwilioKeyDetector"),
)
# Made up for a fake vendor, planted in a test that looks for leaks, or a word such as `right`.
INVENTED = re.compile(r"(sandbox|canary)-[a-z-]+|[a-z ]{1,11}")


def product_files() -> list[Path]:
    return sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def imports(path: Path) -> tuple[str, ...]:
    """The full names of the modules a file imports, also inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.append(str(node.module))
    return tuple(found)


def outside_imports() -> Iterator[tuple[str, str]]:
    """File and top package of each import that is neither ours nor the standard library's."""
    for path in product_files():
        for module in imports(path):
            top = module.partition(".")[0]
            if top not in FLOORS and top not in sys.stdlib_module_names:
                yield name_of(path), top


def test_every_import_from_outside_stays_on_its_floor() -> None:
    strays = {
        (file, package)
        for file, package in outside_imports()
        if not any(fnmatch(file, pattern) for pattern in ALLOWED.get(package, ()))
    }
    assert strays == set()


def test_no_allowance_outlives_its_dependency() -> None:
    assert {package for _, package in outside_imports()} == ALLOWED.keys()


def test_the_floors_import_downwards_only() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_tasks_have_owners() -> None:
    loose = ("create_task", "ensure_future")
    assert [
        f"{name_of(path)}: {word}"
        for path in product_files()
        for word in loose
        if f"asyncio.{word}" in path.read_text()
    ] == []


def test_tests_use_the_real_thing_and_no_mocks() -> None:
    assert [name_of(path) for path in (ROOT / "tests").rglob("*.py") if "unittest.mock" in imports(path)] == []


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_name_no_place_to_download_from(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert [
        line for line in lines if "://" in line or line.startswith(("-i", "-f", "--index", "--extra", "--find"))
    ] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_each_locked_requirement_has_a_version_and_hashes(name: str) -> None:
    entries = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {_distribution(line) for line in (*project["dependencies"], *project["optional-dependencies"]["embedded"])}
    locked = {_distribution(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line}
    assert wanted <= locked


def _distribution(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def test_nothing_that_is_kept_in_the_repository_looks_like_a_secret() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: nothing says which files are kept")
    with transient_settings({"plugins_used": [{"name": name} for name in DETECTORS]}):
        found = [
            f"{name}:{secret.line_number}: {secret.type}"
            for name in listed.stdout.decode().splitlines()
            if (ROOT / name).is_file() and name not in REQUIREMENTS
            for secret in scan_file(str(ROOT / name))
            if not INVENTED.fullmatch(secret.secret_value or "")
        ]
    assert found == []
