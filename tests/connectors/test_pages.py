"""Numbered pages, from honest vendors and from those that lie."""

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import (
    AuthRefused,
    Forbidden,
    Misconfigured,
    NothingThere,
    Throttled,
    Unavailable,
    Unreadable,
    VendorError,
)
from connectors.pages import each, numbered

pytestmark = pytest.mark.anyio

Items = Sequence[msgspec.Raw]


def raws(*numbers: int) -> Items:
    return [msgspec.Raw(str(number).encode()) for number in numbers]


def numbers(pages: list[Items]) -> list[int]:
    return [int(bytes(item)) for page in pages for item in page]


async def read(
    page: Callable[[int], Items], *, size: int | None, first: int = 0, cap: int = 1000
) -> tuple[list[Items], str, list[int]]:
    """The pages that came, what went wrong after them (or nothing), and the page numbers asked for."""
    asked: list[int] = []
    pages: list[Items] = []

    async def fetch(number: int) -> Items:
        asked.append(number)
        return page(number)

    try:
        async for items in numbered(fetch, size=size, first=first, cap=cap):
            pages.append(items)  # noqa: PERF401 - what came before a failure counts
    except Unreadable as error:
        return pages, str(error), asked
    return pages, "", asked


def listing(count: int, size: int, first: int = 0) -> Callable[[int], Items]:
    return lambda page: raws(*range(count)[(page - first) * size : (page - first + 1) * size])


@pytest.mark.parametrize(("count", "asked"), [(0, [0]), (5, [0]), (10, [0, 1]), (25, [0, 1, 2])])
async def test_a_short_or_empty_page_is_the_last(count: int, asked: list[int]) -> None:
    pages, trouble, pages_asked = await read(listing(count, 10), size=10)
    assert (numbers(pages), trouble, pages_asked) == (list(range(count)), "", asked)


async def test_without_a_size_only_an_empty_page_ends_it() -> None:
    pages, trouble, asked = await read(listing(7, 3), size=None)
    assert (numbers(pages), trouble, asked) == (list(range(7)), "", [0, 1, 2, 3])


async def test_pages_may_count_from_one() -> None:
    pages, _, asked = await read(listing(25, 10, first=1), size=10, first=1)
    assert (numbers(pages), asked) == (list(range(25)), [1, 2, 3])


async def test_a_vendor_without_paging_that_repeats_its_listing_has_ended() -> None:
    pages, trouble, asked = await read(lambda _: raws(1, 2, 3), size=None)
    assert (numbers(pages), trouble, asked) == ([1, 2, 3], "", [0, 1])


async def test_a_vendor_that_ignores_the_page_number_cannot_be_read_to_the_end() -> None:
    pages, trouble, _ = await read(lambda _: raws(1, 2, 3), size=3)
    assert numbers(pages) == [1, 2, 3]
    assert trouble == "page 1 repeats page 0: the listing has no end"


async def test_a_cycle_of_pages_is_noticed() -> None:
    pages, trouble, _ = await read(lambda page: raws(page % 3, 9), size=2)
    assert len(pages) == 3
    assert trouble == "page 3 repeats page 0: the listing has no end"


@pytest.mark.parametrize("size", [2, None])
async def test_endless_pages_stop_at_the_cap(size: int | None) -> None:
    pages, trouble, asked = await read(lambda page: raws(page, page + 1), size=size, cap=50)
    assert (len(pages), trouble, len(asked)) == (50, "the listing has more than 50 pages", 50)


@pytest.mark.parametrize(("size", "most"), [(20, 200), (None, 10_000)])
async def test_a_page_far_longer_than_asked_for_is_not_believed(size: int | None, most: int) -> None:
    pages, trouble, _ = await read(lambda page: raws(*range(most + 1)), size=size)
    assert (pages, trouble) == ([], f"page 0 has {most + 1} items, more than {most}")


async def test_items_split_otherwise_are_another_page() -> None:
    pages, trouble, _ = await read(lambda page: [raws(1, 23), raws(12, 3), raws()][page], size=None)
    assert (numbers(pages), trouble) == ([1, 23, 12, 3], "")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.integers(1, 12))
async def test_an_honest_listing_is_read_whole_and_once(count: int, size: int) -> None:
    for told in (size, None):
        pages, trouble, _ = await read(listing(count, size), size=told)
        assert (numbers(pages), trouble) == (list(range(count)), "")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=12),
    st.integers(1, 4) | st.none(),
    st.integers(1, 20),
)
async def test_no_lie_makes_it_endless_repeat_a_page_or_end_well_without_an_end(
    lies: list[list[int]], size: int | None, cap: int
) -> None:
    pages, trouble, asked = await read(lambda page: raws(*lies[page % len(lies)]), size=size, cap=cap)
    told = [numbers([page]) for page in pages]
    assert len(asked) <= cap
    assert all(told.count(page) == 1 for page in told)
    if not trouble:
        last = lies[asked[-1] % len(lies)]
        assert not last or (len(last) < size if size else told.count(last) == 1)


# One after the other

ALONE = [Forbidden, Misconfigured, Unavailable, Unreadable]  # of one, not of all
FOR_ALL: list[type[VendorError]] = [AuthRefused, Throttled]
Fate = tuple[int, type[VendorError] | None]


async def read_each(fates: Sequence[Fate]) -> tuple[list[str], VendorError | None, list[str]]:
    """What came, what went wrong, and the keys that were asked for. Each key gives so many items and then its failure."""
    asked: list[str] = []
    found: list[str] = []

    async def one(key: str) -> AsyncIterator[str]:
        asked.append(key)
        count, failure = fates[int(key)]
        for number in range(count):
            yield f"{key}.{number}"
        if failure is not None:
            raise failure(key)

    try:
        async for item in each(map(str, range(len(fates))), one):
            found.append(item)  # noqa: PERF401 - what came before a failure counts
    except VendorError as error:
        return found, error, asked
    return found, None, asked


async def test_each_is_read_in_turn() -> None:
    assert await read_each([(2, None), (0, None), (1, None)]) == (["0.0", "0.1", "2.0"], None, ["0", "1", "2"])


async def test_one_that_is_gone_is_passed_over() -> None:
    assert await read_each([(1, NothingThere), (1, None)]) == (["0.0", "1.0"], None, ["0", "1"])


@pytest.mark.parametrize("failure", ALONE)
async def test_one_that_fails_does_not_stop_the_others_and_is_told_at_the_end(failure: type[VendorError]) -> None:
    found, error, asked = await read_each([(1, failure), (1, Unreadable), (1, None)])
    assert (found, asked) == (["0.0", "1.0", "2.0"], ["0", "1", "2"])
    assert (type(error), str(error)) == (failure, "0")


@pytest.mark.parametrize("failure", FOR_ALL)
async def test_what_is_no_failure_of_one_alone_is_told_at_once(failure: type[VendorError]) -> None:
    found, error, asked = await read_each([(1, None), (1, failure), (1, None)])
    assert (found, type(error), asked) == (["0.0", "1.0"], failure, ["0", "1"])


fates = st.tuples(st.integers(0, 3), st.sampled_from([None, NothingThere, *ALONE, *FOR_ALL]))


@settings(max_examples=200, deadline=None)
@given(st.lists(fates, max_size=8))
async def test_whatever_fails_nothing_that_came_is_lost_and_no_failure_is_hidden(given_: list[Fate]) -> None:
    found, error, asked = await read_each(given_)
    stop = next((number for number, (_, failure) in enumerate(given_) if failure in FOR_ALL), len(given_) - 1)
    reached = given_[: stop + 1]
    failures = [failure for _, failure in reached if failure in ALONE]
    expected = given_[stop][1] if given_ and given_[stop][1] in FOR_ALL else next(iter(failures), None)
    assert asked == [str(number) for number in range(len(reached))]
    assert found == [f"{key}.{number}" for key, (count, _) in enumerate(reached) for number in range(count)]
    assert (type(error) if error else None) == expected
