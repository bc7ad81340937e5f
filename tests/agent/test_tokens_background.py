"""The renewal in the background: when it looks, when it renews, and what is nothing unforeseen to it."""

from itertools import pairwise

import anyio.lowlevel
import pytest

from connectors.errors import AuthRefused
from tests.agent.token_desk import Desk

pytestmark = pytest.mark.anyio


async def test_the_background_renewal_sleeps_until_it_is_due_but_looks_up_each_minute() -> None:
    desk = Desk(lifetime=300.0)
    slept: list[float] = []
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        desk.now += seconds
        await anyio.lowlevel.checkpoint()
        if len(asked) == 3:
            raise TimeoutError

    desk.vendor.answer = lambda: asked.append(desk.now)
    keeper = desk.keeper(sleep=sleep)
    await keeper.token()
    with pytest.raises(TimeoutError):
        await keeper.keep()
    assert slept[:3] == [60.0, 60.0, 60.0]
    assert max(slept) == 60.0
    assert min(slept) >= 1.0
    assert all(0.75 * 300 <= later - earlier <= 0.85 * 300 + 1 for earlier, later in pairwise(asked))


async def test_the_background_renewal_looks_every_five_seconds_whether_a_token_has_come() -> None:
    desk = Desk()
    desk.vendor.refuses()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        desk.now += seconds
        await anyio.lowlevel.checkpoint()
        if len(slept) == 5:
            raise TimeoutError

    keeper = desk.keeper(sleep=sleep)
    with pytest.raises(AuthRefused):
        await keeper.token()
    with pytest.raises(TimeoutError):
        await keeper.keep()
    assert slept == [5.0] * 5


@pytest.mark.parametrize("away", [False, True], ids=["the vendor is down", "the store is away"])
async def test_a_background_renewal_that_fails_is_nothing_unforeseen(
    away: bool, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(lifetime=60.0)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        desk.now += seconds
        await anyio.lowlevel.checkpoint()
        if len(slept) == 20:
            raise TimeoutError

    keeper = desk.keeper(sleep=sleep)
    await keeper.token()
    desk.vendor.down()
    desk.store.away = away
    with pytest.raises(TimeoutError):
        await keeper.keep()
    assert caplog.records == []
