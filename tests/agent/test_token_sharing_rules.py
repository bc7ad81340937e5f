"""Whose token it is, when it is another's, and what one agent tells the others of a failure."""

from typing import Any

import msgspec
import pytest

from agent.sharing import Shared, Sharing, aged, error_of
from agent.vault import Vault
from connectors.auth import Token
from connectors.errors import AuthRefused, Forbidden, Misconfigured, Throttled, Unavailable, Unreadable, VendorError
from events.tokens import Entry, Held, MemoryTokenStore, Taken, Trouble
from schemas.settings import Secret
from tests.agent.rotating import KEY, OTHER

pytestmark = pytest.mark.anyio

TOKEN = Token(access="canary-access", refresh="canary-refresh", lifetime=600.0)


class Configured:
    """The settings of an account, as far as they say whose token it is."""

    def __init__(self, **others: Any) -> None:
        self.base_url = "https://vendor.example"
        self.client_id = "ours"
        self.username = "ada"
        self.api_key = Secret("canary-key")
        self.refresh_token: Secret | None = Secret("canary-consent")
        self.__dict__.update(others)


def sharing(store: MemoryTokenStore | None = None, account: str = "hotel", keys: str = KEY, **settings: Any) -> Sharing:
    return Sharing(store or MemoryTokenStore(), Vault.of(keys), account, Configured(**settings))


def held(sealed: str) -> Held:
    return Held(Entry(sealed=sealed, lifetime=300.0, left=200.0), 7, 1.5)


def test_what_one_agent_seals_another_of_the_same_account_opens() -> None:
    found = held(sharing().sealed(TOKEN))
    opened = sharing().opened(found)
    assert opened == Shared(found.entry, msgspec.structs.replace(TOKEN, lifetime=300.0), 7, 1.5)


@pytest.mark.parametrize(
    "other",
    [
        {"base_url": "https://other.example"},
        {"client_id": "theirs"},
        {"username": "bob"},
        {"api_key": Secret("canary-other")},
        {"account": "villa"},
        {"refresh_token": Secret("canary-newer")},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_token_of_other_settings_is_none_of_ours(other: dict[str, Any]) -> None:
    found = held(sharing().sealed(TOKEN))
    assert sharing(**other).opened(found) == Shared(found.entry, None, 7, 1.5)


@pytest.mark.parametrize("absent", [None, Secret("${file:/nowhere/at/all}"), Secret("")])
def test_where_no_refresh_token_is_configured_any_consent_is_ours(absent: Secret | None) -> None:
    found = held(sharing().sealed(TOKEN))
    assert sharing(refresh_token=absent).opened(found).token is not None


def test_settings_that_are_not_there_are_as_good_as_empty() -> None:
    found = held(sharing(username="", api_key=None).sealed(TOKEN))
    assert sharing(username=None, api_key=Secret("")).opened(found).token is not None
    assert sharing().opened(found).token is None


def test_an_entry_without_a_token_is_opened_as_none() -> None:
    found = Held(Entry(problem="refused", failures=3), 7, 1.5)
    assert sharing().opened(found) == Shared(found.entry, None, 7, 1.5)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("", "is encrypted, and VENDORWIRE_KEY is not set: set the key it was stored with"),
        (
            OTHER,
            "cannot be opened with VENDORWIRE_KEY: add the key it was stored with, after a comma, or replace it with ",
        ),
    ],
)
def test_a_token_that_cannot_be_opened_says_what_to_do(keys: str, sentence: str) -> None:
    command = "`vendorwire authorize hotel --forget`" if keys else ""
    found = held(sharing().sealed(TOKEN))
    with pytest.raises(Misconfigured) as raised:
        sharing(keys=keys).opened(found)
    assert str(raised.value) == f"the stored token of the account hotel {sentence}{command}"
    assert raised.value.__suppress_context__


def test_what_is_sealed_but_is_no_token_cannot_be_opened_either() -> None:
    with pytest.raises(Misconfigured, match="cannot be opened"):
        sharing().opened(held(Vault.of(KEY).seal(b"[]")))


def test_whether_tokens_are_shared_depends_on_the_key_alone() -> None:
    assert sharing().has_key is True
    assert sharing(keys="").has_key is False
    assert sharing(keys="").sealed(TOKEN) == ""


def test_another_configured_refresh_token_replaces_the_one_there_was() -> None:
    settings = Configured()
    ours = Sharing(MemoryTokenStore(), Vault.of(KEY), "hotel", settings)
    assert not ours.is_replaced()  # nothing was sealed or opened yet
    sealed = ours.sealed(TOKEN)
    assert not ours.is_replaced()
    settings.refresh_token = Secret("canary-newer")
    assert ours.is_replaced()
    assert ours.consent() == "canary-newer"
    settings.refresh_token = None
    assert not ours.is_replaced()
    assert ours.consent() == ""
    settings.refresh_token = Secret("canary-consent")
    after_start = Sharing(MemoryTokenStore(), Vault.of(KEY), "hotel", settings)
    after_start.opened(held(sealed))
    assert not after_start.is_replaced()
    settings.refresh_token = Secret("canary-newer")
    assert after_start.is_replaced()


async def test_a_claim_is_one_agents_and_lasts_half_a_minute_at_most() -> None:
    store = MemoryTokenStore(lambda: 100.0)
    one, other = sharing(store), sharing(store)
    claim = await one.claim()
    assert isinstance(claim, int)
    assert await other.claim() == Taken(None, 25.0)
    await one.release(claim)
    again = await other.claim()
    assert isinstance(again, int)
    await other.rest(again, Forbidden("not yours"), 60)
    assert await one.claim() == Taken(Trouble("Forbidden", "not yours"), 60.0)


async def test_two_agents_are_two_holders_to_the_store() -> None:
    class Asked(MemoryTokenStore):
        def __init__(self) -> None:
            super().__init__()
            self.holders: list[tuple[str, str]] = []

        async def claim(self, account: str, holder: str, seconds: float) -> int | Taken:
            self.holders.append((account, holder))
            return await super().claim(account, holder, seconds)

    store = Asked()
    one, other = sharing(store), sharing(store, account="villa")
    for each in (one, one, other):
        await each.claim()
    (first, ours), again, (last, theirs) = store.holders
    assert again == ("hotel", ours)
    assert (first, last) == ("hotel", "villa")
    assert ours != theirs
    assert len(ours) >= 16  # nobody else's by chance


async def test_what_is_stored_is_the_accounts_own() -> None:
    store = MemoryTokenStore(lambda: 100.0)
    assert await sharing(store).read() is None
    revision = await sharing(store).write(Entry(sealed="x"), 0)
    assert await sharing(store).read() == Held(Entry(sealed="x"), revision, 0.0)
    assert await sharing(store, account="villa").read() is None


async def test_a_key_that_is_put_first_seals_anew_what_is_stored_and_its_time_goes_on() -> None:
    now = 100.0
    store = MemoryTokenStore(lambda: now)
    before, after = sharing(store), sharing(store, keys=f"{OTHER},{KEY}")
    sealed = before.sealed(TOKEN)
    old = await before.write(Entry(sealed=sealed, lifetime=300, left=200, trial=20, failures=2), 0)
    assert await before.reseal() == Held(Entry(sealed=sealed, lifetime=300, left=200, trial=20, failures=2), old, 0.0)
    now = 130.0
    found = await after.reseal()
    assert found is not None
    assert found.entry.sealed != sealed
    assert found.revision > old
    assert found == Held(
        Entry(sealed=found.entry.sealed, lifetime=300, left=170, trial=0, failures=2), found.revision, 0.0
    )
    assert await after.read() == found
    assert await after.reseal() == found
    opened = sharing(store, keys=OTHER).opened(found).token
    assert opened is not None
    assert opened.access == "canary-access"
    with pytest.raises(Misconfigured):
        await before.reseal()


async def test_where_no_token_is_stored_none_is_sealed_anew() -> None:
    store = MemoryTokenStore(lambda: 100.0)
    ours = sharing(store)
    assert await ours.reseal() is None
    revision = await ours.write(Entry(problem="failed"), 0)
    assert await ours.reseal() == Held(Entry(problem="failed"), revision, 0.0)


def test_what_is_left_of_an_entry_runs_down_to_nothing() -> None:
    entry = Entry(sealed="x", lifetime=60, left=50, trial=20)
    assert aged(entry, 30) == Entry(sealed="x", lifetime=60, left=20, trial=0)
    assert aged(entry, 50.5) == Entry(sealed="x", lifetime=60, left=0, trial=0)


@pytest.mark.parametrize("kind", [AuthRefused, Forbidden, Misconfigured, Unavailable, Unreadable])
def test_the_failure_of_another_agent_comes_under_its_own_name(kind: type[VendorError]) -> None:
    error = error_of(Taken(Trouble(kind.__name__, "so it is"), 12.3))
    assert type(error) is kind
    assert str(error) == "so it is"


def test_a_throttled_agent_tells_the_others_how_long_to_wait() -> None:
    error = error_of(Taken(Trouble("Throttled", "slow down"), 12.3))
    assert isinstance(error, Throttled)
    assert (str(error), error.retry_after) == ("slow down", 13)


def test_a_failure_that_this_release_does_not_know_is_one_to_wait_out() -> None:
    assert type(error_of(Taken(Trouble("Novel", "what is this"), 3.0))) is Unavailable
    assert error_of(Taken(None, 3.0)) is None
