"""Taking out of a sentence what must not be seen in it, in one pass however much there is to hide."""

import re
from collections.abc import Mapping
from itertools import pairwise

QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")

_PIECE = 12  # a stretch of a hidden text this long is hidden too
_LONGEST = 4096  # of a longer text the beginning is looked for


class Mask:
    """Hides texts, whole or in long pieces; short ones are hidden where they are quoted, as ordinary words may hold them.

    `hidden` maps each text to what is shown instead: a reference, or `***` for a secret.
    """

    def __init__(self, hidden: Mapping[str, str]) -> None:
        self._shown = hidden
        self._quoted = {repr(text): repr(shown) for text, shown in hidden.items()}
        self._pieces = {piece for text, shown in hidden.items() for piece in _pieces(text, 4 if shown == "***" else 8)}

    def __call__(self, message: str) -> str:
        message = QUOTED.sub(lambda found: self._quoted.get(found.group(), found.group()), message)
        covered = [False] * (len(message) + 1)
        for size in range(4, _PIECE + 1):
            for start in range(len(message) - size + 1):
                if message[start : start + size] in self._pieces:
                    covered[start : start + size] = [True] * size
        borders = [0, *(at for at in range(1, len(message)) if covered[at] != covered[at - 1]), len(message)]
        parts = [(message[start:end], covered[start]) for start, end in pairwise(borders)]
        return "".join(self._shown.get(part, "***") if hide else part for part, hide in parts)


def _pieces(text: str, least: int) -> set[str]:
    if len(text) <= _PIECE:
        return {text} if len(text) >= least else set()
    return {text[start : start + _PIECE] for start in range(min(len(text), _LONGEST) - _PIECE + 1)}
