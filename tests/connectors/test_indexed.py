"""Pages by an index, from honest vendors and from those that lie."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import Misconfigured, NothingThere, Unavailable, Unreadable, VendorError
from connectors.indexed import Reported, indexed
from connectors.listing import Listed

pytestmark = pytest.mark.anyio

Vendor = Callable[[int], Listed]


def page(*numbers: int, pages: int | None = None, index: int | None = None, total: int | None = None) -> Listed:
    return Listed(items=[msgspec.Raw(str(each).encode()) for each in numbers], pages=pages, index=index, total=total)


def vendor(count: int, size: int, *, base: int = 0, pages: int | None = None, index: int = 0) -> Vendor:
    """`index` is added to what the vendor calls a page. Counting from 1, page 0 is its first; behind the end is nothing."""

    def answer(number: int) -> Listed:
        at = max(number - base, 0)
        shown = range(count)[at * size : (at + 1) * size]
        return page(*shown, pages=pages, index=at + base + index)

    return answer


async def read(
    answer: Vendor, *, base: int | None = None, cap: int = 1000, binding: bool = True
) -> tuple[list[int], str, list[int]]:
    """The items that came, what went wrong after them (or nothing), and the pages asked for."""
    asked: list[int] = []
    found: list[int] = []

    async def fetch(number: int) -> Listed:
        asked.append(number)
        return answer(number)

    try:
        async for items in indexed(fetch, lambda raw: bytes(raw).decode(), base=base, cap=cap, binding=binding):
            found += [int(bytes(item)) for item in items]
    except VendorError as error:
        return found, f"{type(error).__name__}: {error}", asked
    return found, "", asked


def refusing(answer: Vendor, least: int, most: int, error: VendorError) -> Vendor:
    def strict(number: int) -> Listed:
        if not least <= number <= most:
            raise error
        return answer(number)

    return strict


async def test_a_short_page_that_the_vendor_calls_the_last_is_the_last() -> None:
    assert await read(vendor(25, 10, pages=3)) == (list(range(25)), "", [0, 1, 2])


async def test_a_full_page_is_followed_by_another_look_whatever_the_vendor_says() -> None:
    assert await read(vendor(25, 10, pages=1)) == (list(range(25)), "", [0, 1, 2])
    assert await read(vendor(20, 10, pages=2)) == (list(range(20)), "", [0, 1, 2])


async def test_without_a_number_of_pages_an_empty_page_is_the_end() -> None:
    assert await read(vendor(25, 10)) == (list(range(25)), "", [0, 1, 2, 3])


async def test_a_vendor_that_counts_from_one_answers_its_first_page_twice() -> None:
    found, trouble, asked = await read(vendor(25, 10, base=1, pages=3))
    assert (sorted(set(found)), trouble, asked) == (list(range(25)), "", [0, 1, 2, 3])


async def test_a_page_0_without_items_may_be_that_of_a_vendor_that_counts_from_one() -> None:
    def answer(number: int) -> Listed:
        return vendor(25, 10, base=1, pages=3)(number) if number else page(pages=3, index=0)

    assert await read(answer) == (list(range(25)), "", [0, 1, 2, 3])


async def test_nothing_at_all_is_asked_for_twice() -> None:
    assert await read(vendor(0, 10, pages=0)) == ([], "", [0, 1])


async def test_a_base_that_is_set_is_not_looked_for() -> None:
    assert await read(vendor(25, 10, base=1, pages=3), base=1) == (list(range(25)), "", [1, 2, 3])
    assert await read(vendor(0, 10), base=0) == ([], "", [0])


@pytest.mark.parametrize("error", [Misconfigured("400"), NothingThere("404"), Reported("inside")])
async def test_a_refusal_behind_what_the_vendor_calls_the_end_is_the_end(error: VendorError) -> None:
    found, trouble, asked = await read(refusing(vendor(20, 10, pages=2), 0, 1, error))
    assert (found, trouble, asked) == (list(range(20)), "", [0, 1, 2])


async def test_a_refusal_before_the_end_is_a_failure_and_an_outage_always_is() -> None:
    assert await read(refusing(vendor(30, 10, pages=3), 0, 1, Misconfigured("400"))) == (
        list(range(20)),
        "Misconfigured: 400",
        [0, 1, 2],
    )
    _, trouble, _ = await read(refusing(vendor(20, 10, pages=2), 0, 1, Unavailable("503")))
    assert trouble == "Unavailable: 503"


async def test_a_total_that_is_reached_by_a_short_page_is_the_end() -> None:
    def answer(number: int) -> Listed:
        return page(*range(12)[(number - 1) * 5 : number * 5], total=12)

    assert await read(answer, base=1) == (list(range(12)), "", [1, 2, 3])


async def test_the_first_page_for_ever_is_no_listing_that_was_read_to_its_end() -> None:
    found, trouble, _ = await read(lambda number: page(*range(10), total=450), base=1)
    assert (found, trouble) == (
        list(range(10)),
        "Unreadable: page 2 is the first page again, though the vendor says that there is more",
    )


async def test_a_vendor_that_ignores_the_index_and_has_no_more_is_done() -> None:
    assert (await read(lambda number: page(*range(10), pages=1)))[:2] == (list(range(10)), "")


async def test_a_listing_without_an_end_is_cut() -> None:
    found, trouble, _ = await read(lambda number: page(number), cap=50)
    assert (found, trouble) == (list(range(50)), "Unreadable: the listing has more than 50 pages")


async def test_the_cap_is_an_error_of_reading() -> None:
    with pytest.raises(Unreadable):
        async for _ in indexed(_endless, lambda raw: bytes(raw).decode(), base=0, cap=3):
            pass


async def _endless(number: int) -> Listed:
    return page(number)


# Words that contradict the end


class Glitch:
    """A vendor whose page `number` is empty `times` times, its words as they are."""

    def __init__(self, answer: Vendor, number: int, times: int) -> None:
        self.answer, self.number, self.left = answer, number, times

    def __call__(self, number: int) -> Listed:
        told = self.answer(number)
        if number != self.number or not self.left:
            return told
        self.left -= 1
        return msgspec.structs.replace(told, items=[])


def counting(count: int, size: int, **told: int | None) -> Vendor:
    """Counts from 0 and tells of its `pages`, its `total` or both."""

    def answer(number: int) -> Listed:
        return page(*range(count)[number * size : (number + 1) * size], **told)

    return answer


CUT_SHORT = "Unreadable: the listing ended with page 1, though the vendor says that there is more"


@pytest.mark.parametrize("told", [{"pages": 3}, {"total": 25}, {"pages": 3, "total": 25}])
async def test_an_empty_page_in_the_middle_is_asked_for_again_and_is_no_end(told: dict[str, int]) -> None:
    assert await read(Glitch(counting(25, 10, **told), 1, 1)) == (list(range(25)), "", [0, 1, 1, 2])
    assert await read(Glitch(counting(25, 10, **told), 1, 9)) == (list(range(10)), CUT_SHORT, [0, 1, 1])


async def test_a_nought_on_an_empty_page_unsays_nothing() -> None:
    def answer(number: int) -> Listed:
        return page(pages=0, total=0) if number else page(*range(10), pages=3, total=25)

    assert await read(answer) == (list(range(10)), CUT_SHORT, [0, 1, 1])


async def test_a_page_that_comes_again_in_the_middle_is_no_end() -> None:
    def answer(number: int) -> Listed:
        return counting(40, 10, total=40)(min(number, 1))

    found, trouble, asked = await read(answer, base=0)
    assert (found, asked) == (list(range(20)), [0, 1, 2, 2])
    assert trouble == CUT_SHORT.replace("page 1", "page 2")


async def test_a_number_of_pages_that_is_one_too_high_is_no_contradiction() -> None:
    assert await read(counting(20, 10, pages=3)) == (list(range(20)), "", [0, 1, 2])
    assert await read(counting(20, 10, pages=3, total=20)) == (list(range(20)), "", [0, 1, 2])
    assert (await read(counting(20, 10, pages=3, total=21)))[1].startswith("Unreadable: the listing ended with page 2")


async def test_a_count_of_each_page_alone_contradicts_nothing_and_ends_nothing() -> None:
    pages = [[0, 1, 2], [3], [4, 5, 6], []]
    assert await read(lambda at: page(*pages[at], total=len(pages[at]))) == (list(range(7)), "", [0, 1, 2, 3])


async def test_a_short_page_is_not_the_last_while_the_total_says_more() -> None:
    pages = [[0, 1, 2], [3], [4, 5], []]
    assert await read(lambda at: page(*pages[at], pages=2, total=6)) == (list(range(6)), "", [0, 1, 2])


async def test_a_page_as_long_as_the_vendor_says_its_pages_are_is_full() -> None:
    def sized(*numbers: int, size: int) -> Listed:
        return msgspec.structs.replace(page(*numbers, pages=1, total=len(numbers)), size=size)

    assert await read(lambda at: sized(*(range(3) if at == 1 else ()), size=5), base=1) == ([0, 1, 2], "", [1])
    assert await read(lambda at: sized(*(range(3) if at == 1 else ()), size=3), base=1) == ([0, 1, 2], "", [1, 2])


async def test_a_refusal_before_the_total_is_reached_is_a_failure() -> None:
    strict = refusing(counting(20, 10, pages=2, total=30), 0, 1, NothingThere("404"))
    assert await read(strict) == (list(range(20)), "NothingThere: 404", [0, 1, 2])
    hidden = refusing(lambda _: page(total=30), 0, 0, Misconfigured("400"))
    assert await read(hidden) == ([], "Misconfigured: 400", [0, 1])


class Moving:
    """A vendor that shows what changed last first: with each request some of its records move to the front."""

    def __init__(self, count: int, size: int, moves: list[int]) -> None:
        self.rows, self.size, self.moves = list(range(count)), size, moves

    def __call__(self, number: int) -> Listed:
        shown = page(*self.rows[number * self.size : (number + 1) * self.size], total=len(self.rows))
        if self.moves:
            self.rows.insert(0, self.rows.pop(self.rows.index(self.moves.pop(0))))
        return shown


async def test_records_that_moved_while_they_were_read_are_read_again() -> None:
    found, trouble, asked = await read(Moving(25, 10, [12]), base=0)
    assert (sorted(set(found)), trouble) == (list(range(25)), "")
    assert asked == [0, 1, 2, 3, 0, 1, 2]


async def test_a_last_page_of_records_that_moved_to_it_is_no_contradiction() -> None:
    readings = iter([[[0, 1, 2], [3, 4, 5], [2]], [[6, 0, 1], [2, 3, 4], [5]]])
    rows: list[list[int]] = []

    def answer(number: int) -> Listed:
        nonlocal rows
        rows = next(readings) if number == 0 else rows
        return page(*rows[number], pages=3, total=7)

    found, trouble, asked = await read(answer, base=0)
    assert (sorted(set(found)), trouble, asked) == (list(range(7)), "", [0, 1, 2, 0, 1, 2])


async def test_where_they_never_rest_or_the_vendor_has_doubles_three_readings_are_enough() -> None:
    rows = [0, 1, 2, 3, 0]
    found, trouble, asked = await read(lambda at: page(*rows[at * 3 : at * 3 + 3], total=5), base=0)
    assert (found, trouble, asked) == ([0, 1, 2, 3, 0], "", [0, 1, 2] * 3)


async def test_figures_that_are_not_binding_are_only_hints() -> None:
    assert await read(counting(25, 10, pages=7, total=70), binding=False) == (list(range(25)), "", [0, 1, 2, 3])
    found, trouble, asked = await read(Moving(25, 10, [12]), base=0, binding=False)
    assert (len(set(found)), trouble, asked) == (24, "", [0, 1, 2, 3])


@settings(max_examples=400, deadline=None)
@given(
    count=st.integers(0, 60),
    size=st.integers(1, 12),
    base=st.sampled_from([0, 1]),
    zero=st.sampled_from(["first", "empty"]),
    behind=st.sampled_from(["empty", "last"]),
    pages=st.one_of(st.none(), st.integers(-1, 70)),
    total=st.one_of(st.none(), st.integers(-1, 70)),
    index=st.one_of(st.none(), st.integers(-2, 3)),
    honest=st.booleans(),
    binding=st.booleans(),
)
async def test_every_item_is_read_and_it_ends_whatever_the_vendor_says(
    count: int,
    size: int,
    base: int,
    zero: str,
    behind: str,
    pages: int | None,
    total: int | None,
    index: int | None,
    honest: bool,
    binding: bool,
) -> None:
    last = max(-(-count // size), 1) - 1

    def answer(number: int) -> Listed:
        at = number - base
        told = {
            "pages": last + 1 if honest else pages,
            "total": count if honest and total is not None else total,
            "index": None if index is None else at + base + index,
        }
        if at < 0 and zero == "empty":
            return page(**told)
        at = max(at, 0)
        at = min(at, last) if behind == "last" else at
        return page(*range(count)[at * size : (at + 1) * size], **told)

    found, trouble, asked = await read(answer, binding=binding)
    assert set(found) == set(range(count))
    assert len(asked) <= last + 6
    claims_more = (pages or 0) > last + 1 or (total or 0) > count
    assert not trouble or (not honest and claims_more and (binding or behind == "last"))
    assert not trouble or "the vendor says that there is more" in trouble


@settings(max_examples=200, deadline=None)
@given(
    start=st.integers(1, 40),
    size=st.integers(5, 50),
    grow=st.integers(0, 2),
    newest_first=st.booleans(),
    tells_pages=st.booleans(),
)
async def test_a_listing_that_grows_while_it_is_read_is_read_all_the_same(
    start: int, size: int, grow: int, newest_first: bool, tells_pages: bool
) -> None:
    there = list(range(start))

    async def fetch(number: int) -> Listed:
        shown = there[::-1] if newest_first else list(there)
        page = [msgspec.Raw(str(each).encode()) for each in shown[number * size : (number + 1) * size]]
        pages = -(-len(shown) // size) if tells_pages else None
        there.extend(range(len(there), len(there) + grow))
        return Listed(items=page, pages=pages, index=number, total=len(shown))

    def key(raw: msgspec.Raw) -> str:
        return bytes(raw).decode()

    found = {key(raw) async for items in indexed(fetch, key, base=None, binding=True) for raw in items}
    assert found >= {str(each) for each in range(start)}
