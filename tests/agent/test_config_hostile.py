"""What no configuration may do: give a secret away, end in a traceback, or keep the agent busy."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from agent.configfile import find, load
from agent.faults import ConfigError
from agent.starter import STARTER

INLINE = ["hunter2-client-secret", "hunter2-refresh", "hunter2-admin", "hunter2-bus", "hunter2-hook", "hunter2-header"]
REFERRED = ["canary-grace-5-minutes", "canary-name", "canary.example.com", "canary-events", "canary-secret"]


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "vendorwire.yaml"


def complaint(file: Path, content: str | bytes) -> str:
    """What is said about a file; empty where it is fine. Any other error than ConfigError fails the test."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        load(file)
    except ConfigError as error:
        return f"{error} {error!r} {error.faults!r}"
    return ""


HOLDING = f"""\
bus: {{url: nats://h, password: {INLINE[3]}, user: me, prefix: "${{NAME}}"}}
http: {{listen: x, admin_token: {INLINE[2]}}}
grace: ${{GRACE}}
accounts:
  - vendor: octorate
    name: "${{NAME}}"
    client_id: "${{NAME}}"
    client_secret: {INLINE[0]}
    refresh_token: {INLINE[1]}
    base_url: "ftp://${{HOST}}"
    redact: ["${{NAME}}"]
    every: {{booking: "${{GRACE}}"}}
routes:
  - name: ops.
    events: ["${{EVENTS}}"]
    accounts: ["${{EVENTS}}"]
    webhook:
      url: "https://${{HOST}}:port/x"
      secret: [{INLINE[4]}, "${{SECRET}}"]
      headers: {{authorization: {INLINE[5]}, Host: {INLINE[5]}}}
      concurrency: "${{GRACE}}"
"""
SPOILED = [
    HOLDING,
    HOLDING.replace("client_secret: h", "client_secret:h"),
    HOLDING.replace("client_secret: h", "client_secret: *h"),
    HOLDING.replace("client_secret: h", "client_secret: &h"),
    HOLDING.replace("client_secret: h", "client_secret: !h"),
    HOLDING.replace("client_secret: h", "client_secret: 'h"),
    HOLDING.replace("client_secret: h", "client_secret: [h"),
    HOLDING.replace("client_secret: h", "client_secret: {h: h"),
    HOLDING.replace("client_secret: h", 'client_secret: "\\qh'),
    HOLDING.replace("client_secret: h", "client_secret: a\n      b: h"),
    HOLDING.replace("password: h", "password:h"),
    HOLDING.replace("vendor: octorate", "vendor: acme"),
    HOLDING + f"  - {{name: {INLINE[1]}., events: [a.b], subject: {INLINE[0]}.*}}\n",  # a secret where none belongs
]


@pytest.mark.parametrize("text", SPOILED)
def test_no_fault_shows_a_secret_or_what_a_reference_stands_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    for name, value in zip(["GRACE", "NAME", "HOST", "EVENTS", "SECRET"], REFERRED, strict=True):
        monkeypatch.setenv(name, value)

    said = complaint(tmp_path / "vendorwire.yaml", text)

    assert said
    assert [secret for secret in [*INLINE, *REFERRED] if secret in said] == []


def test_a_good_configuration_shows_no_secret_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OCTORATE_ID", "OCTORATE_SECRET", "OCTORATE_REFRESH"):
        monkeypatch.setenv(name, f"canary-{name}")
    monkeypatch.setenv("CRM_SECRET", "whsec_" + "Y2FuYXJ5" * 4)
    file = tmp_path / "vendorwire.yaml"
    file.write_text(STARTER)

    shown = repr(load(file))

    assert "canary-OCTORATE_SECRET" not in shown
    assert "canary-OCTORATE_REFRESH" not in shown
    assert "Y2FuYXJ5" not in shown


WORDS = st.sampled_from(
    [*"{}[]:,-?&*!|>'\"%@`#\n\t \\~", "  ", "\n- ", ": ", "${", "}", "<<", "---", "!!int ", "1e999"]
)
KEYS = ["bus", "url", "http", "accounts", "routes", "vendor", "name", "every", "events", "webhook", "secret", "grace"]
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["octorate", "1s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.text() | st.lists(WORDS | st.sampled_from(KEYS), max_size=30).map("".join))
@example("accounts: 1_\n")
@example("a: 0x\n" + "9" * 5000)
@example("%YAML 1.1\n---\na: yes\n")
@example("a: '\ud800'")
@example('a: "\\ud800"')
@example('a: "${file:\\0}"')
@example("!!set {a}")
@example("!!int a")
@example("a: !!int b")
@example("? ? ?")
def test_any_text_ends_in_a_complaint(scratch: Path, text: str) -> None:
    assert complaint(scratch, text)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_end_in_a_complaint(scratch: Path, content: bytes) -> None:
    assert complaint(scratch, content)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), TREES, min_size=1))
def test_any_tree_ends_in_a_complaint(scratch: Path, tree: dict[str, object]) -> None:
    with scratch.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tree, file)

    assert complaint(scratch, scratch.read_bytes())


@settings(deadline=None)
@given(st.integers(0, len(STARTER)), st.integers(0, 40), st.text(max_size=3) | WORDS)
def test_a_slip_in_a_good_file_is_at_worst_a_complaint(scratch: Path, at: int, lost: int, typed: str) -> None:
    complaint(scratch, STARTER[:at] + typed + STARTER[at + lost :])


def test_aliases_cannot_make_a_small_file_large(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 40))

    started = time.monotonic()
    assert "anchors and aliases are not supported" in complaint(tmp_path / "vendorwire.yaml", bomb)
    assert time.monotonic() - started < 10


def test_a_file_that_is_too_large_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is too large" in complaint(tmp_path / "large.yaml", "#" * (1 << 20) + "#")
    assert ":2: is not UTF-8 text" in complaint(tmp_path / "latin.yaml", b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_the_file_is_the_one_named_else_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "vendorwire.yaml", tmp_path / "there.yaml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VENDORWIRE_CONFIG", raising=False)

    with pytest.raises(ConfigError, match=r"^vendorwire.yaml: there is no such file: `vendorwire init` writes one"):
        find(None)
    here.touch()
    assert find(None) == Path("vendorwire.yaml")
    monkeypatch.setenv("VENDORWIRE_CONFIG", str(there))
    with pytest.raises(ConfigError, match=r"there.yaml: there is no such file"):
        find(None)
    there.touch()
    assert find(None) == there
    assert find(str(here)) == here
