"""How an account's token is kept, to the second and to the word: what callers are told, and what all agents then know."""

import anyio
import httpx
import pytest

from agent.sharing import Sharing
from agent.vault import Vault
from connectors.auth import Token
from connectors.errors import AuthRefused, Misconfigured, Unavailable
from events.ledger import LedgerUnavailable
from events.tokens import Entry, Held, Taken, Trouble
from tests.agent.rotating import KEY, OTHER
from tests.agent.token_desk import Desk

pytestmark = pytest.mark.anyio


async def test_a_token_that_runs_out_on_its_way_is_handed_to_nobody() -> None:
    desk = Desk(lifetime=5.0)

    def slow() -> None:
        desk.now += 10

    desk.store.released = slow
    with pytest.raises(Unavailable) as raised:
        await desk.keeper().token()
    assert str(raised.value) == "the token ran out while it was on its way"


async def test_a_token_refused_for_one_thing_is_renewed_once_and_then_said_to_be_all_there_is() -> None:
    desk = Desk()
    keeper = desk.keeper()
    first = await keeper.token()
    second = await keeper.renew(first, elsewhere=True)
    assert (first.access, second.access) == ("access-1", "access-2")
    with pytest.raises(AuthRefused) as raised:
        await keeper.renew(second, elsewhere=True)
    assert str(raised.value) == "the vendor refuses a token for this alone, and there is no other"
    assert (await keeper.token()).access == "access-2"
    assert len(desk.vendor.asked) == 2
    desk.now += 60
    assert (await keeper.renew(second, elsewhere=True)).access == "access-3"


async def test_a_token_refused_just_after_it_was_given_ends_the_asking_for_all_and_spends_nothing() -> None:
    desk = Desk()
    keeper, other = desk.keeper(), desk.keeper()
    second = await keeper.renew(await keeper.token())
    desk.now += 10
    with pytest.raises(AuthRefused) as raised:
        await keeper.renew(second)
    assert str(raised.value) == "the vendor refuses a token that it has just given"
    entry = await desk.entry()
    assert (entry.problem, entry.spent, entry.failures) == ("refused", False, 1)
    assert await desk.claim() == Taken(
        Trouble("AuthRefused", "the vendor refuses a token that it has just given"), 50.0
    )
    assert (desk.told[-1].healthy, desk.told[-1].expires_at, desk.told[-1].renewal) == (False, None, "")
    for each in (keeper, other):
        with pytest.raises(AuthRefused, match="that it has just given"):
            await each.token()
    assert len(desk.vendor.asked) == 2
    desk.now += 50
    assert (await keeper.token()).access == "access-3"


async def test_each_caller_gets_a_failure_of_its_own_to_raise() -> None:
    desk = Desk()
    desk.vendor.refuses()
    keeper = desk.keeper()
    raised = []
    for _ in range(3):
        with pytest.raises(AuthRefused) as each:
            await keeper.token()
        raised.append(each.value)
    assert len({id(error) for error in raised}) == 3
    assert len(desk.vendor.asked) == 1


@pytest.mark.parametrize(
    ("down", "kind", "quiet", "problem"),
    [(False, "AuthRefused", 60.0, "refused"), (True, "Unavailable", 5.0, "failed")],
)
async def test_a_failed_sign_in_is_known_to_all_agents(down: bool, kind: str, quiet: float, problem: str) -> None:
    desk = Desk()
    if down:
        desk.vendor.down()
    else:
        desk.vendor.refuses()
    with pytest.raises((AuthRefused, Unavailable)) as raised:
        await desk.keeper().token()
    assert await desk.claim() == Taken(Trouble(kind, str(raised.value)), quiet)
    entry = await desk.entry()
    assert (entry.problem, entry.failures, entry.spent) == (problem, 1, False)
    assert [state.renewal for state in desk.told] == [problem]
    other = desk.keeper()
    for away in (False, True):  # once it knows, it asks nobody
        desk.store.away = away
        with pytest.raises(type(raised.value)) as there:
            await other.token()
        assert str(there.value) == str(raised.value)
    desk.store.away = False
    assert len(desk.vendor.asked) == 1
    desk.now += quiet
    desk.vendor.works()
    assert (await desk.keeper().token()).access == "access-2"


async def test_a_refusal_that_comes_late_finds_the_token_on_trial() -> None:
    desk = Desk()
    keeper = desk.keeper()
    first = await keeper.token()
    second = await keeper.renew(first)
    assert await keeper.renew(first) is second
    assert (await keeper.token()).access == "access-2"
    assert len(desk.vendor.asked) == 2


async def test_where_the_others_cannot_be_told_of_a_refusal_it_is_the_refusal_that_is_raised() -> None:
    desk = Desk()
    desk.store.restless = True
    keeper = desk.keeper()
    second = await keeper.renew(await keeper.token())
    with pytest.raises(AuthRefused, match="that it has just given"):
        await keeper.renew(second)
    stranger = Desk()
    stranger.store.restless = True
    stranger.vendor.refuses()
    with pytest.raises(AuthRefused):
        await stranger.keeper().token()
    assert isinstance(await stranger.claim(), int)  # it was given back


async def test_an_agent_that_starts_has_the_stored_token_before_anybody_asks_for_it() -> None:
    desk = Desk()
    await desk.keeper().token()
    starting = desk.keeper()
    await starting.prepare()
    desk.store.away = True
    assert (await starting.token()).access == "access-1"
    desk.store.away = False
    await Desk().keeper().prepare()  # with nothing stored there is nothing to take over


async def test_what_is_older_than_what_is_known_is_no_news_unless_the_store_was_made_anew() -> None:
    desk = Desk()
    keeper, late = desk.keeper(), desk.keeper()
    first = await keeper.token()
    old = await desk.store.read("hotel")
    assert old is not None
    await keeper.renew(first)
    await late.token()
    late.learn(old)
    assert (await late.token()).access == "access-2"
    late.follow()
    late.learn(old)
    assert (await late.token()).access == "access-1"
    late.learn(old)
    assert (await late.token()).access == "access-1"


async def test_after_a_sign_in_the_claim_is_anybodys() -> None:
    desk = Desk()
    await desk.keeper().token()
    assert isinstance(await desk.claim(), int)


async def test_a_store_that_is_away_is_asked_again_after_a_second_while_the_token_serves() -> None:
    desk = Desk()
    keeper = desk.keeper()
    assert (await keeper.token()).access == "access-1"
    desk.now += 90
    desk.store.away = True
    assert (await keeper.token()).access == "access-1"
    desk.store.away = False
    desk.now += 0.9
    assert (await keeper.token()).access == "access-1"
    desk.now += 0.1
    assert (await keeper.token()).access == "access-2"


async def test_without_the_store_there_is_no_first_token() -> None:
    desk = Desk()
    desk.store.away = True
    with pytest.raises(LedgerUnavailable):
        await desk.keeper().token()
    assert desk.vendor.asked == []


async def test_a_token_is_stored_although_others_keep_storing_theirs_until_the_third_time() -> None:
    desk = Desk()
    desk.store.moved = 2
    assert (await desk.keeper().token()).access == "access-1"
    crowded = Desk()
    crowded.store.moved = 3
    keeper = crowded.keeper()
    with pytest.raises(LedgerUnavailable, match=r"^the token could not be stored: others kept storing theirs$"):
        await keeper.token()
    assert (await keeper.token()).access == "access-1"  # it was kept, and is stored now
    assert len(crowded.vendor.asked) == 1


async def test_a_stored_token_that_no_key_opens_is_looked_at_every_five_seconds() -> None:
    desk = Desk()
    await desk.keeper().token()
    stranger = desk.keeper(OTHER)
    with pytest.raises(Misconfigured, match="cannot be opened"):
        await stranger.token()
    told = len(desk.told)
    assert not desk.told[-1].healthy
    desk.now += 4.9
    with pytest.raises(Misconfigured, match="cannot be opened"):
        await stranger.token()
    assert len(desk.told) == told
    desk.now += 0.1
    with pytest.raises(Misconfigured, match="cannot be opened"):
        await stranger.token()
    assert len(desk.told) == told + 1
    assert len(desk.vendor.asked) == 1


async def test_a_sign_in_that_is_cut_off_gives_its_claim_back() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    desk = Desk()
    with anyio.move_on_after(0.1):
        await desk.keeper(send=hang).token()
    assert isinstance(await desk.claim(), int)


async def test_a_token_that_comes_while_the_vendor_refuses_is_the_one_to_use() -> None:
    desk = Desk()

    async def refused(request: httpx.Request) -> httpx.Response:
        sealed = Sharing(desk.store, Vault.of(KEY), "hotel", desk.vendor).sealed(
            Token(access="consented", lifetime=100)
        )
        entry = Entry(sealed=sealed, lifetime=100, left=100)
        keeper.learn(Held(entry, await desk.store.write("hotel", entry, 0), 0.0))
        return httpx.Response(401, request=request)

    keeper = desk.keeper(send=refused)
    assert (await keeper.token()).access == "consented"
    assert (await desk.entry()).problem == ""
    assert isinstance(await desk.claim(), int)


def test_a_keeper_names_its_account_and_nothing_else() -> None:
    assert repr(Desk().keeper()) == "TokenKeeper(octorate/hotel)"
