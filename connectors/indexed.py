"""Reading a listing by the index of its pages, where neither the base of the index nor the size of a page is known."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from connectors.errors import Misconfigured, NothingThere, Unavailable, Unreadable

MOST_PAGES = 1000


class Reported(Unavailable):
    """The vendor reports a failure inside a 200."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A page, and what the vendor says of it: how many pages there are, which one this is, how many items there are in all."""

    items: Sequence[msgspec.Raw]
    pages: int | None = None
    index: int | None = None
    total: int | None = None


async def indexed(
    fetch: Callable[[int], Awaitable[Listed]],
    key_of: Callable[[msgspec.Raw], str],
    *,
    base: int | None,
    cap: int = MOST_PAGES,
) -> AsyncIterator[Sequence[msgspec.Raw]]:
    """Yield every page that brings a new key. `base` is the index of the first page; None where it is 0 or 1.

    The end is an empty page, one without a new key, or one that the vendor says is the last and that is shorter than
    another: its word alone ends nothing, for it may be wrong. Behind that word a refusal is the end as well. Raises
    Unreadable after the good pages where the first page comes again though the vendor says that there is more, and after
    `cap` pages.
    """
    first = base or 0
    reader = _Reader(key_of, base)
    for number in range(first, first + cap):
        try:
            page = await fetch(number)
        except (Misconfigured, NothingThere, Reported):
            if not reader.told_all:
                raise
            return
        news = reader.take(number, page)
        if news:
            yield page.items
        if reader.ended:
            return
    raise Unreadable(f"the listing has more than {cap} pages")


class _Reader:
    """What has been read so far, and whether that is all."""

    def __init__(self, key_of: Callable[[msgspec.Raw], str], base: int | None) -> None:
        self.told_all = False  # the vendor says, or it seems, that nothing follows
        self.ended = False
        self._key_of = key_of
        self._base = base
        self._from_one = base == 1
        self._known: set[str] = set()
        self._first: set[str] = set()
        self._longest = 0
        self._pages = 0  # that brought something new

    def take(self, number: int, page: Listed) -> bool:
        """Whether the page brings a key that is new."""
        keys = set(map(self._key_of, page.items))
        news = not keys <= self._known
        again = bool(keys) and not news
        self._known |= keys
        self._first = self._first or keys
        # A vendor that counts from 1 may answer 0 with its first page, or with nothing.
        undecided = self._base is None and ((number == 0 and (page.index == 1 or not keys)) or (number == 1 and again))
        self._from_one = self._from_one or undecided
        self.told_all = not keys or self._is_last(number, page)
        if again and not undecided and keys == self._first and self._lacks(page):
            raise Unreadable(f"page {number} is the first page again, though the vendor says that there is more")
        self.ended = not undecided and (not news or (self.told_all and len(page.items) < self._longest))
        self._longest = max(self._longest, len(page.items))
        self._pages += news
        return news

    def _is_last(self, number: int, page: Listed) -> bool:
        if page.pages:
            return self._position(number) >= page.pages
        return page.total is not None and len(self._known) >= page.total

    def _lacks(self, page: Listed) -> bool:
        """Whether the vendor says that there is more than was read."""
        return self._pages < (page.pages or 0) or len(self._known) < (page.total or 0)

    def _position(self, number: int) -> int:
        """Which page it is, counted from 1."""
        return max(number, 1) if self._from_one else number + 1
