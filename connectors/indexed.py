"""Reading a listing by the index of its pages, where neither the base of the index nor the size of a page is known."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from connectors.errors import Misconfigured, NothingThere, Unavailable, Unreadable
from connectors.listing import KeyOf, Keys, Listed, PlainKeys, key_or_bytes

MOST_PAGES = 1000
LONGEST = 50_000  # items on one page: vendors give hundreds
READINGS = 3  # of a listing whose records move from page to page meanwhile


class Reported(Unavailable):
    """The vendor reports a failure inside a 200."""


async def indexed(
    fetch: Callable[[int], Awaitable[Listed]],
    key_of: KeyOf,
    *,
    base: int | None,
    cap: int = MOST_PAGES,
    binding: bool = False,
    keys: Callable[[], Keys] = PlainKeys,
) -> AsyncIterator[Sequence[msgspec.Raw]]:
    """Yield every page that brings a new key. `base` is the index of the first page; None where it is 0 or 1. `keys` makes a
    set of keys with nothing in it.

    The end is an empty page, one without a new key, or one that the vendor says is the last and that is shorter than
    another: its word alone ends nothing, for it may be wrong. Behind that word a refusal is the end as well.

    Where the vendor's figures are `binding`, an end before them is none: the page is asked for once more. The lesser of what
    was told first and last counts: a listing may grow while it is read. And where fewer keys came than there were items at
    first, records have moved while they were read (or the vendor has doubles): the listing is read again from its first
    page, at most READINGS times in all.

    Raises Unreadable after the good pages where the first page comes again, or a binding listing ends, though the vendor
    says that there is more; and after `cap` pages.
    """
    known: Keys | None = None  # of the readings before
    for _ in range(READINGS):
        reader = _Reader(key_of, base, keys())
        for number in range(base or 0, (base or 0) + cap):
            page = await _page(fetch, number, reader)
            news = reader.take(number, page)
            if binding and reader.cut_short:
                page = await _page(fetch, number, reader)
                news = reader.take(number, page)
            if binding and reader.cut_short:
                raise Unreadable(f"the listing ended with page {number}, though the vendor says that there is more")
            if (news if known is None else known.add_items(page.items, key_of)) > 0:
                yield page.items
            if reader.ended:
                break
        else:
            raise Unreadable(f"the listing has more than {cap} pages")
        known = known or reader.known
        if not binding or len(known) >= reader.total_at_first:
            return


async def _page(fetch: Callable[[int], Awaitable[Listed]], number: int, reader: "_Reader") -> Listed:
    """A page. Refused behind what the vendor calls the end, it is an empty one."""
    try:
        return await fetch(number)
    except (Misconfigured, NothingThere, Reported):
        if not reader.told_all:
            raise
        return Listed(items=())


class _Reader:
    """What one reading has brought so far, and whether that is all."""

    def __init__(self, key_of: KeyOf, base: int | None, known: Keys) -> None:
        self.known = known
        self.total = 0  # items, as the vendor said last; 0: it did not
        self.total_at_first = 0  # what comes while we read is not missed: the next reading brings it
        self.told_all = False  # the vendor says, or it seems, that nothing follows
        self.ended = False
        self.cut_short = False  # it ended, though the vendor says that there is more
        self._key_of = key_of
        self._base = base
        self._from_one = base == 1
        self._first: Sequence[msgspec.Raw] = ()
        self._before: Sequence[msgspec.Raw] = ()  # the page before
        self._last: tuple[int, Sequence[msgspec.Raw]] = (-1, ())  # the page taken last
        self._longest = 0
        self._told_pages = 0  # as the vendor said last; 0: it did not
        self._pages_at_first = 0
        self._pages = 0  # that brought something new
        self._items: dict[int, int] = {}  # page → how many it showed, without those that only repeat another page

    def take(self, number: int, page: Listed) -> int:
        """How many keys of the page are new."""
        if len(page.items) > LONGEST:
            raise Unreadable(f"page {number} has {len(page.items)} items, more than {LONGEST}")
        news = self.known.add_items(page.items, self._key_of)
        again = bool(page.items) and not news
        self._first = self._first or page.items
        self._hear(page)
        self._pages += bool(news)
        if number != self._last[0]:  # else it was asked for once more
            self._before = self._last[1]
        self._last = (number, page.items)
        is_first = again and self._have_same_keys(page.items, self._first)
        repeats = is_first or (again and self._have_same_keys(page.items, self._before))
        self._items[number] = 0 if repeats else len(page.items)
        # A vendor that counts from 1 may answer 0 with its first page, or with nothing.
        undecided = self._base is None and (
            (number == 0 and (page.index == 1 or not page.items)) or (number == 1 and again)
        )
        self._from_one = self._from_one or undecided
        listed = sum(self._items.values())
        lacks = self._position(number) < min(self._pages_at_first, self._told_pages)
        lacks = lacks or listed < min(self.total_at_first, self.total)
        self.told_all = not lacks and (not page.items or self._says_how_many(listed, page))
        last = self.told_all and len(self.known) >= self.total and len(page.items) < self._full(page)
        self.ended = not undecided and (not news or last)
        self.cut_short = self.ended and lacks
        if is_first and not undecided and (lacks or self._pages < self._told_pages):
            raise Unreadable(f"page {number} is the first page again, though the vendor says that there is more")
        self._longest = max(self._longest, len(page.items))
        return news

    def _have_same_keys(self, one: Sequence[msgspec.Raw], other: Sequence[msgspec.Raw]) -> bool:
        name = key_or_bytes(self._key_of)
        return set(map(name, one)) == set(map(name, other))

    def _hear(self, page: Listed) -> None:
        """Nought says nothing: it may be a count of this page alone, or never be filled in."""
        self._told_pages = max(page.pages or 0, 0) or self._told_pages
        self._pages_at_first = self._pages_at_first or self._told_pages
        self.total = max(page.total or 0, 0) or self.total
        self.total_at_first = self.total_at_first or self.total

    def _says_how_many(self, listed: int, page: Listed) -> bool:
        """Whether the vendor's figures mean the whole listing, not this page alone."""
        return self._told_pages > 0 or (self.total > 0 and not listed > self.total == len(page.items))

    def _full(self, page: Listed) -> int:
        """How many items a page has that is not the last: what was seen; what is said only where all figures agree."""
        told = page.size if self._told_pages and self.total else 0
        return max(self._longest, told or 0)

    def _position(self, number: int) -> int:
        """Which page it is, counted from 1."""
        return max(number, 1) if self._from_one else number + 1
