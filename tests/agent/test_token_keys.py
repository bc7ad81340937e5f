"""Keys: tokens are stored sealed, opened by whoever has the key, and a wrong key is never the same as no token."""

import msgspec
import pytest

from agent.faults import ConfigError
from agent.tokenwatch import prepare
from agent.vault import Unopenable, Vault
from connectors.errors import Misconfigured
from events.tokens import Held
from schemas.settings import Secret
from tests.agent.rotating import FIRST, KEY, OTHER, Agents

pytestmark = pytest.mark.anyio


async def held(agents: Agents) -> Held:
    found = await agents.store.read("hotel")
    assert found is not None
    return found


@pytest.mark.parametrize("text", [KEY, f"{KEY},{OTHER}", f" {OTHER} {KEY}\n", KEY.replace("-", "+")])
async def test_what_was_sealed_is_opened_by_whoever_has_the_key(text: str) -> None:
    vault = Vault.of(text)
    assert vault
    assert vault.open(Vault.of(KEY).seal(b"inside")) == b"inside"


async def test_without_a_key_nothing_is_sealed_and_nothing_opened() -> None:
    assert not Vault.of(None)
    assert not Vault.of(" ,")
    assert Vault().seal(b"inside") == ""
    with pytest.raises(Unopenable):
        Vault().open(Vault.of(KEY).seal(b"inside"))


@pytest.mark.parametrize("text", ["canary-short", KEY[:-4], f"{KEY},canary-x", "é" * 44])
async def test_a_malformed_key_is_named_without_its_text(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Vault.of(text)
    assert str(raised.value) == (
        "VENDORWIRE_KEY: each key is 32 bytes in base64, several are separated by commas: `openssl rand -base64 32` makes one"
    )


async def test_a_key_is_masked_in_the_log_and_in_no_repr() -> None:
    vault = Vault.of(KEY)
    assert KEY in Secret.known
    assert "canary" not in repr(vault)


async def test_no_token_is_stored_in_the_plain() -> None:
    for keys in (KEY, ""):
        agents = Agents(1, keys=keys)
        await agents.all_ask()
        stored = msgspec.json.encode((await held(agents)).entry).decode()
        assert "canary" not in stored
        assert bool((await held(agents)).entry.sealed) == bool(keys)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [(OTHER, "cannot be opened with VENDORWIRE_KEY"), ("", "is encrypted, and VENDORWIRE_KEY is not set")],
)
async def test_an_agent_with_the_wrong_key_or_none_does_not_start_and_asks_for_nothing(
    keys: str, sentence: str
) -> None:
    agents = Agents(1)
    await agents.all_ask()
    before = await held(agents)
    stranger = agents.joined(keys)
    with pytest.raises(ConfigError, match=f"^VENDORWIRE_KEY: the stored token of the account hotel {sentence}"):
        await prepare({"hotel": stranger})
    with pytest.raises(Misconfigured):
        await stranger.token()
    assert not agents.told[-1][-1].healthy
    assert (await held(agents), agents.vendor.forms) == (before, [FIRST])


async def test_a_flipped_byte_is_not_the_same_as_no_token() -> None:
    agents = Agents(1)
    await agents.all_ask()
    found = await held(agents)
    sealed = found.entry.sealed
    for at in (0, 20, len(sealed) // 2, len(sealed) - 3):
        spoilt = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        entry = msgspec.structs.replace(found.entry, sealed=spoilt)
        await agents.store.write("hotel", entry, (await held(agents)).revision)
        with pytest.raises(ConfigError):
            await prepare({"hotel": agents.joined()})
    assert agents.vendor.forms == [FIRST]


async def test_a_token_moved_to_another_account_is_not_taken_for_its_own() -> None:
    agents = Agents(1)
    await agents.all_ask()
    found = await held(agents)
    await agents.store.write("villa", found.entry, 0)
    villa = agents.joined()
    villa._sharing._account = "villa"
    agents.vendor.refresh = FIRST
    assert (await villa.token()).access == "canary-access-2"


async def test_keys_change_without_a_sign_in() -> None:
    agents = Agents(1)
    await agents.all_ask()
    agents.at += 10
    changing = agents.joined(f"{OTHER} {KEY}")
    await prepare({"hotel": changing})
    found = await held(agents)
    assert Vault.of(OTHER).is_current(found.entry.sealed)
    assert found.entry.left == 90
    changed = agents.joined(OTHER)
    await prepare({"hotel": changed})
    assert (await changed.token()).access == "canary-access-1"
    agents.at += 91
    assert (await changed.token()).access == "canary-access-2"
    assert agents.vendor.forms == [FIRST, "canary-refresh-1"]


async def test_only_the_tokens_that_may_still_be_on_their_way_are_remembered_for_masking() -> None:
    agents = Agents(1)
    for _ in range(20):
        await agents.all_ask()
        agents.at += 101
    assert "canary-access-20" in Secret.known
    assert "canary-refresh-20" in Secret.known
    assert "canary-access-1" not in Secret.known
