"""A pacer under a clock of its own: waiting takes no time and shows to the second."""

from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.budget import Pacer
from connectors.errors import Throttled
from schemas.settings import Budget, Duration

pytestmark = pytest.mark.anyio


class Clock:
    """Sleeping moves it on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.now += seconds


def pacer(clock: Clock, requests: int, per: float, floor: int = 0) -> Pacer:
    return Pacer(Budget(requests=requests, per=Duration(seconds=per)), floor, clock, clock.sleep)


@settings(max_examples=60, deadline=None)
@given(
    requests=st.integers(1, 20),
    per=st.floats(0.1, 1000),
    idle=st.lists(st.floats(0, 500), min_size=1, max_size=60),
)
async def test_no_stretch_of_the_window_ever_holds_more_than_the_budget(
    requests: int, per: float, idle: list[float]
) -> None:
    clock = Clock()
    paced = pacer(clock, requests, per)
    length = timedelta(seconds=per).total_seconds()
    sent = []
    for pause in idle:
        clock.now += pause
        await paced.acquire()
        sent.append(clock.now)
    for first, beyond in zip(sent, sent[requests:], strict=False):
        assert beyond >= first + length


async def test_half_the_window_goes_at_once_and_the_rest_evenly() -> None:
    clock = Clock()
    paced = pacer(clock, 10, 100)
    sent = []
    for _ in range(12):
        await paced.acquire()
        sent.append(clock.now - 1000)
    assert sent == [0, 0, 0, 0, 0, 0, 10, 20, 30, 40, 100, 100]


async def test_waiters_are_served_in_the_order_they_came() -> None:
    clock = Clock()
    paced = pacer(clock, 1, 10)
    served: list[int] = []

    async def wait(number: int) -> None:
        await paced.acquire()
        served.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(wait, number)
    assert served == list(range(20))
    assert clock.now == 1000 + 19 * 10


async def test_an_abandoned_wait_costs_nothing_and_frees_the_queue() -> None:
    clock = Clock()
    waiting = anyio.Event()

    async def stuck(_: float) -> None:
        waiting.set()
        await anyio.sleep_forever()

    paced = Pacer(Budget(requests=1, per=Duration(seconds=10)), clock=clock, sleep=stuck)
    await paced.acquire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(paced.acquire)
        await waiting.wait()
        tasks.cancel_scope.cancel()
    clock.now += 10
    assert paced.left() == 1
    await paced.acquire()
    assert paced.left() == 0


async def test_left_counts_what_the_window_still_holds() -> None:
    clock = Clock()
    paced = pacer(clock, 10, 100)
    assert paced.left() == 10
    await paced.acquire()
    await paced.acquire()
    assert paced.left() == 8
    clock.now += 100
    assert paced.left() == 10


async def test_below_the_floor_of_the_vendors_counter_requests_pause_for_a_minute() -> None:
    clock = Clock()
    paced = pacer(clock, 100, 300, floor=10)
    paced.remaining(9)
    with pytest.raises(Throttled) as refused:
        await paced.acquire()
    assert refused.value.retry_after == 60
    assert paced.left() == 0


async def test_after_the_pause_one_probe_goes_through_until_its_answer_is_known() -> None:
    clock = Clock()
    paced = pacer(clock, 100, 300, floor=10)
    paced.remaining(3)
    clock.now += 60
    await paced.acquire()
    with pytest.raises(Throttled):
        await paced.acquire()
    paced.remaining(80)
    await paced.acquire()
    await paced.acquire()


async def test_a_vendor_that_stops_counting_does_not_pause_the_account_for_ever() -> None:
    clock = Clock()
    paced = pacer(clock, 100, 300, floor=10)
    paced.remaining(3)
    clock.now += 360
    await paced.acquire()
    await paced.acquire()


async def test_a_counter_above_the_floor_changes_nothing() -> None:
    paced = pacer(Clock(), 100, 300, floor=10)
    paced.remaining(10)
    await paced.acquire()
    assert paced.left() == 99


async def test_a_vendor_that_asks_for_quiet_gets_it_also_from_those_already_waiting() -> None:
    clock = Clock()

    async def asked_to_hold(seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        paced.hold(120)
        clock.now += seconds

    paced = Pacer(Budget(requests=1, per=Duration(seconds=10)), clock=clock, sleep=asked_to_hold)
    await paced.acquire()
    with pytest.raises(Throttled) as refused:
        await paced.acquire()
    assert refused.value.retry_after == 110
    clock.now += 110
    await paced.acquire()


async def test_the_vendors_good_counter_does_not_shorten_the_quiet_it_asked_for() -> None:
    paced = pacer(Clock(), 100, 300, floor=10)
    paced.hold(30)
    paced.remaining(80)
    with pytest.raises(Throttled):
        await paced.acquire()
