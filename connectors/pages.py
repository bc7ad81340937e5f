"""Reading a numbered listing to its end, without believing anything the vendor says about its paging."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from connectors.errors import Forbidden, Misconfigured, NothingThere, Unavailable, Unreadable, VendorError
from connectors.listing import fingerprint

T = TypeVar("T")

LONGEST = 10_000  # items on one page where no size was asked for
TOLERANCE = 10  # a page may be this many times longer than asked for


async def each(keys: Iterable[str], read: Callable[[str], AsyncIterator[T]]) -> AsyncIterator[T]:
    """Read one after the other, such as the calendar of each property. One that fails does not stop the others.

    One that is not there any more is passed over. Raises the first failure once all have been read, or at once where it is
    no failure of one alone (refused credentials, a throttled account).
    """
    failure: VendorError | None = None
    for key in keys:
        try:
            async for item in read(key):
                yield item
        except NothingThere:
            continue
        except (Forbidden, Misconfigured, Unavailable, Unreadable) as error:
            failure = failure or error
    if failure is not None:
        raise failure


async def numbered(
    fetch: Callable[[int], Awaitable[Sequence[msgspec.Raw]]], *, size: int | None, first: int = 0, cap: int = 1000
) -> AsyncIterator[Sequence[msgspec.Raw]]:
    """Yield the pages `fetch(first)`, `fetch(first + 1)`… up to an empty one or, where `size` was asked for, a shorter one.

    A page that repeats an earlier one is the end where the vendor has no page size (it ignores the number), else the
    listing is broken. Raises Unreadable after the good pages where the listing repeats itself, has more than `cap` pages
    or a page that is far too long: then it was not read to its end.
    """
    longest = LONGEST if size is None else size * TOLERANCE
    seen: dict[bytes, int] = {}
    for number in range(first, first + cap):
        items = await fetch(number)
        if not items:
            return
        if len(items) > longest:
            raise Unreadable(f"page {number} has {len(items)} items, more than {longest}")
        earlier = seen.setdefault(fingerprint(items), number)
        if earlier != number:
            if size is None:
                return
            raise Unreadable(f"page {number} repeats page {earlier}: the listing has no end")
        yield items
        if size is not None and len(items) < size:
            return
    raise Unreadable(f"the listing has more than {cap} pages")
