"""Wrong tokens, told together: whoever has none must not be able to push out of the audit what others did."""

from collections import Counter

import anyio

from agent.commands.lines import counted

EVERY = 600.0  # seconds: one act tells of all that came in so long, from wherever
ADDRESSES = 1_000  # that are told apart
NAMED = 5  # that are named, those with the most wrong tokens


class WrongTokens:
    """Those that nobody was told of yet, by address."""

    def __init__(self) -> None:
        self._from: Counter[str] = Counter()
        self._elsewhere = 0  # of addresses beyond those that are told apart
        self._some = anyio.Event()

    def add(self, where: str) -> None:
        if where in self._from or len(self._from) < ADDRESSES:
            self._from[where] += 1
        else:
            self._elsewhere += 1
        self._some.set()

    async def some(self) -> None:
        """Wait until there are any."""
        await self._some.wait()

    def take(self) -> tuple[str, str]:
        """From where they came, and how many, in words; they are told of now."""
        count = self._from.total() + self._elsewhere
        named = self._from.most_common(NAMED)
        words = counted(count, "wrong token")
        where = named[0][0]
        if len(self._from) > 1:
            others = count - sum(tries for _, tries in named)
            places = [f"{tries} from {address}" for address, tries in named] + (
                [f"{others} from others"] if others else []
            )
            words, where = f"{words}: {', '.join(places)}", "several addresses"
        self._from, self._elsewhere, self._some = Counter(), 0, anyio.Event()
        return where, words
