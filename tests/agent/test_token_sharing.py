"""Agents that share one account's token: one of them signs in, and what a vendor gives only once is not lost."""

from functools import partial

import anyio
import pytest

from agent.tokens import TokenKeeper
from connectors.auth import Token
from connectors.errors import AuthRefused, Unavailable
from events.ledger import LedgerUnavailable
from events.tokens import Entry, Held, MemoryTokenStore, Moved
from tests.agent.rotating import FIRST, PASSWORD, Agents, Rotating

pytestmark = pytest.mark.anyio


async def learn(agents: Agents, keeper: TokenKeeper) -> None:
    held = await agents.store.read("hotel")
    assert held is not None
    keeper.learn(held)


async def test_fifty_users_of_three_agents_bring_one_sign_in_and_one_renewal() -> None:
    agents = Agents(3)
    assert await agents.all_ask(50) == ["canary-access-1"] * 150
    agents.at += 101  # they all find it expired
    assert await agents.all_ask(50) == ["canary-access-2"] * 150
    assert agents.vendor.forms == [FIRST, "canary-refresh-1"]


async def test_while_one_agent_renews_the_others_go_on_with_the_token_they_have() -> None:
    agents = Agents(2)
    await agents.all_ask()
    agents.at += 90
    heard, answer = anyio.Event(), anyio.Event()

    async def slow() -> None:
        heard.set()
        await answer.wait()

    agents.vendor.before = slow
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agents.keepers[0].token)
        await heard.wait()
        assert (await agents.keepers[1].token()).access == "canary-access-1"
        answer.set()
    agents.at += 1
    assert (await agents.keepers[1].token()).access == "canary-access-2"
    assert len(agents.vendor.forms) == 2


async def test_a_vendor_that_withdraws_the_consent_on_reuse_never_has_to() -> None:
    agents = Agents(2, lifetime=60)
    for second in range(0, 6 * 3600, 7):
        agents.at = float(second)
        for keeper in agents.keepers:
            assert not agents.vendor.refuses(await keeper.token())
        if second % 700 == 0:  # one of them is restarted
            agents.keepers[second // 700 % 2] = agents.joined()
    assert not agents.vendor.withdrawn
    assert len(set(agents.vendor.forms)) == len(agents.vendor.forms)


async def test_no_request_of_a_day_of_minute_long_tokens_has_an_expired_one() -> None:
    agents = Agents(3, lifetime=60)
    for second in range(0, 24 * 3600, 5):
        agents.at = float(second)
        for keeper in agents.keepers:
            assert not agents.vendor.refuses(await keeper.token())
    assert 86400 / 60 < len(agents.vendor.forms) < 86400 / 40


async def test_a_restarted_agent_goes_on_with_what_is_stored() -> None:
    agents = Agents(1)
    await agents.all_ask()
    agents.at += 30
    agents.keepers = [agents.joined()]
    assert await agents.all_ask() == ["canary-access-1"]
    agents.at += 65
    assert await agents.all_ask() == ["canary-access-2"]
    assert agents.vendor.forms == [FIRST, "canary-refresh-1"]


async def test_a_wall_clock_two_hours_off_changes_nothing() -> None:
    agents = Agents(0)
    agents.keepers = [agents.joined(skew=-7200), agents.joined(skew=7200)]
    for _ in range(50):
        agents.at += 20
        for keeper in agents.keepers:
            assert not agents.vendor.refuses(await keeper.token())
    assert not agents.vendor.withdrawn


async def test_a_token_refused_before_its_time_is_renewed_once_for_all() -> None:
    agents = Agents(3)
    tokens = [await keeper.token() for keeper in agents.keepers]
    got = [(await keeper.renew(token)).access for keeper, token in zip(agents.keepers, tokens, strict=True)]
    assert got == ["canary-access-2"] * 3
    assert len(agents.vendor.forms) == 2


async def test_a_vendor_that_refuses_all_it_gives_is_asked_once_a_minute_by_all_together() -> None:
    agents = Agents(3, lifetime=3600)
    for second in range(0, 600, 5):
        agents.at = float(second)
        for keeper in agents.keepers:
            try:
                await keeper.renew(await keeper.token())
            except AuthRefused:
                continue
    assert len(agents.vendor.forms) <= 1 + 11


async def test_refused_credentials_are_tried_once_a_minute_by_all_together() -> None:
    agents = Agents(3)
    agents.vendor.withdrawn = True
    for second in range(0, 300, 2):
        agents.at = float(second)
        assert await agents.all_ask(5) == []
    assert agents.vendor.times == [0, 60, 120, 180, 240]
    assert [told[-1].healthy for told in agents.told] == [False] * 3
    assert sum(state.renewal == "refused" for told in agents.told for state in told) == 5


@pytest.mark.parametrize("keys", ["", "canary-key-canary-key-canary-key-canary-key="])
async def test_the_failure_an_agent_meets_is_told_to_the_others_at_once(keys: str) -> None:
    agents = Agents(2, keys=keys)
    agents.vendor.withdrawn = True
    for keeper in agents.keepers:
        with pytest.raises(AuthRefused, match=r"^POST /token: the vendor refused the credentials \(400\)$"):
            await keeper.token()
    assert len(agents.vendor.forms) == 1


async def test_a_token_endpoint_that_stays_down_is_asked_less_and_less_by_all_together() -> None:
    agents = Agents(3)

    async def down() -> None:
        agents.vendor.times.append(agents.at)
        raise Unavailable("POST /token: no answer within 10 s")

    agents.vendor.before = down
    for second in range(240):
        agents.at = float(second)
        for keeper in agents.keepers:
            with pytest.raises(Unavailable):
                await keeper.token()
    assert agents.vendor.times == [0, 5, 15, 35, 75, 135, 195]


async def test_without_a_key_each_agent_signs_in_for_itself_one_after_the_other() -> None:
    agents = Agents(2, keys="")
    busy, most = 0, 0

    async def counted() -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await anyio.sleep(0.05)
        busy -= 1

    agents.vendor.before = counted
    agents.keepers = [agents.joined(connector=Rotating(signs_in_anew=True)) for _ in range(2)]
    await agents.all_ask(10)
    assert (len(agents.vendor.forms), most) == (2, 1)


async def test_without_a_key_a_replaced_refresh_token_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    agents = Agents(1, keys="")
    for _ in range(3):
        await agents.all_ask()
        agents.at += 90
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "VENDORWIRE_KEY" in warnings[0]


# What goes wrong between the vendor's reply and the store


class Hurt(MemoryTokenStore):
    """A store whose next writes fail: `lost` are done all the same."""

    away = 0
    lost = 0

    async def write(self, account: str, entry: Entry, after: int) -> int:
        if self.away:
            self.away -= 1
            raise LedgerUnavailable("the bus is away")
        revision = await super().write(account, entry, after)
        if self.lost:
            self.lost -= 1
            raise LedgerUnavailable("no answer")
        return revision


@pytest.mark.parametrize("how", ["away", "lost"])
async def test_a_new_token_that_could_not_be_stored_is_stored_before_it_is_used(how: str) -> None:
    agents = Agents(0)
    store = Hurt(lambda: agents.at)
    agents.store = store
    agents.keepers = [agents.joined(), agents.joined()]
    setattr(store, how, 1)
    with pytest.raises(LedgerUnavailable):
        await agents.keepers[0].token()
    assert (await agents.keepers[0].token()).access == "canary-access-1"
    assert (await agents.keepers[1].token()).access == "canary-access-1"
    assert agents.vendor.forms == [FIRST]


async def test_while_the_store_is_away_the_token_serves_until_it_expires() -> None:
    agents = Agents(1)
    await agents.all_ask()

    class Away(MemoryTokenStore):
        async def read(self, account: str) -> Held | None:
            raise LedgerUnavailable("the bus is away")

    keeper = agents.keepers[0]
    keeper._sharing._store = Away()
    agents.at += 90
    assert (await keeper.token()).access == "canary-access-1"
    agents.at += 10
    with pytest.raises(LedgerUnavailable):
        await keeper.token()
    keeper._sharing._store = agents.store
    assert (await keeper.token()).access == "canary-access-2"


async def test_a_cancelled_sign_in_still_stores_what_the_vendor_gave() -> None:
    agents = Agents(1)
    answered = anyio.Event()

    async def answers() -> None:
        answered.set()
        await anyio.sleep(0.02)

    agents.vendor.after = answers
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agents.keepers[0].token)
        await answered.wait()
        tasks.cancel_scope.cancel()
    assert (await agents.joined().token()).access == "canary-access-1"
    assert agents.vendor.forms == [FIRST]


async def killed_before_storing(agents: Agents, keeper: TokenKeeper) -> None:
    """The vendor has answered, and nobody heard it; the claim runs out."""
    agents.vendor.after = anyio.sleep_forever
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.token)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    agents.vendor.after = anyio.lowlevel.checkpoint
    agents.at += 30


async def test_a_refresh_token_lost_on_its_way_brings_the_call_for_a_new_consent() -> None:
    agents = Agents(0)
    connector = partial(Rotating, None)
    agents.keepers = [agents.joined()]
    await agents.all_ask()
    agents.at += 101
    await killed_before_storing(agents, agents.keepers[0])
    keeper = agents.joined(connector=connector())
    with pytest.raises(AuthRefused, match="consent"):
        await keeper.token()
    assert agents.vendor.withdrawn


async def test_where_the_vendor_has_a_password_the_lost_refresh_token_is_no_loss() -> None:
    agents = Agents(0)
    agents.keepers = [agents.joined(connector=Rotating(PASSWORD, signs_in_anew=True))]
    await agents.all_ask()
    agents.at += 101
    await killed_before_storing(agents, agents.keepers[0])
    agents.keepers = [agents.joined(connector=Rotating(PASSWORD, signs_in_anew=True))]
    assert await agents.all_ask() == ["canary-access-4"]
    assert agents.vendor.forms == [PASSWORD, "canary-refresh-1", "canary-refresh-1", PASSWORD]


async def test_a_hanging_token_endpoint_leaves_the_old_token_in_use() -> None:
    agents = Agents(1)
    await agents.all_ask()
    agents.at += 90
    agents.vendor.before = anyio.sleep_forever
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agents.keepers[0].token)
        await anyio.wait_all_tasks_blocked()
        assert await agents.all_ask(10) == ["canary-access-1"] * 10
        tasks.cancel_scope.cancel()


async def test_a_holder_that_dies_frees_its_claim_by_running_out() -> None:
    agents = Agents(1)
    assert isinstance(await agents.store.claim("hotel", "dead", 25), int)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agents.keepers[0].token)
        await anyio.sleep(0.3)
        assert agents.vendor.forms == []
        agents.at += 26
    assert agents.vendor.forms == [FIRST]


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("told", [False, True])
async def test_a_consent_stored_meanwhile_wins_over_a_sign_in_on_its_way(told: bool, refused: bool) -> None:
    agents = Agents(2)
    await agents.all_ask()
    agents.at += 101

    async def authorized_meanwhile() -> None:
        held = await agents.store.read("hotel")
        assert held is not None
        sealed = agents.keepers[1]._sharing.sealed(consented("canary-consented"))
        try:
            await agents.store.write("hotel", Entry(sealed=sealed, lifetime=100, left=100), held.revision)
        except Moved:
            raise AssertionError from None
        if told:
            await learn(agents, agents.keepers[0])

    agents.vendor.before = authorized_meanwhile
    agents.vendor.withdrawn = refused and told
    assert (await agents.keepers[0].token()).access == "canary-consented"


def consented(access: str) -> Token:
    return Token(access=access, refresh="canary-refresh-9", lifetime=100)


# What the others learn


async def test_an_agent_that_never_polls_knows_the_health_and_the_expiry() -> None:
    agents = Agents(1)
    router = agents.joined(skew=500)
    await agents.all_ask()
    await learn(agents, router)
    state = agents.told[-1][-1]
    assert (state.healthy, state.expires_at, state.renewal) == (True, 1_000_600.0, "")
    agents.vendor.withdrawn = True
    agents.at += 101
    await agents.all_ask()
    await learn(agents, router)
    state = agents.told[-1][-1]
    assert (state.healthy, state.expires_at, state.renewal) == (False, None, "")


async def test_without_a_key_the_health_is_told_all_the_same() -> None:
    agents = Agents(1, keys="")
    router = agents.joined()
    await agents.all_ask()
    await learn(agents, router)
    assert (agents.told[-1][-1].healthy, agents.told[-1][-1].expires_at) == (True, 1_000_100.0)


async def test_a_consent_given_while_the_agent_runs_ends_the_trouble_at_once() -> None:
    agents = Agents(0)
    keeper = agents.joined(connector=Rotating(None))
    with pytest.raises(AuthRefused, match="consent"):
        await keeper.token()
    assert agents.vendor.forms == []
    held = await agents.store.read("hotel")
    assert held is not None
    sealed = keeper._sharing.sealed(consented("canary-consented"))
    await agents.store.write("hotel", Entry(sealed=sealed, lifetime=100, left=100), held.revision)
    await learn(agents, keeper)
    assert (await keeper.token()).access == "canary-consented"
    assert agents.told[-1][-1].healthy


async def test_a_refresh_token_newly_configured_replaces_what_is_stored() -> None:
    agents = Agents(1)
    await agents.all_ask()
    agents.vendor.refresh = "canary-refresh-new"
    agents.keepers = [agents.joined(connector=Rotating("canary-refresh-new"))]
    assert await agents.all_ask() == ["canary-access-2"]
    assert agents.vendor.forms == [FIRST, "canary-refresh-new"]
