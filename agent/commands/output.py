"""Results on stdout: lines, tables and JSON. What vendors wrote may be hostile, so no control character gets to a terminal."""

import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.log import escape, mask

_ENDLESS = 100_000  # columns; a table in a pipe is never folded


def line(text: str) -> None:
    """One line, out at once."""
    sys.stdout.write(escape(mask(text)) + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under their headings. On a terminal long cells are folded, elsewhere each row is one line; nothing is cut."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        whole = number == 0 or not sys.stdout.isatty()  # the first names the row: it must be fit to be copied
        made.add_column(column, overflow="fold", no_wrap=whole, min_width=len(column))
    for row in rows:
        made.add_row(*(Text(escape(mask(str(cell)))) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _ENDLESS, highlight=False)
    with console.capture() as drawn:
        console.print(made)
    sys.stdout.write("".join(f"{each.rstrip()}\n" for each in drawn.get().splitlines()))
    sys.stdout.flush()


def json(value: object) -> None:
    """A value as JSON on one line."""
    json_bytes(msgspec.json.encode(value))


def json_bytes(encoded: bytes) -> None:
    """JSON as it is; on a terminal with control characters written as JSON escapes, which mean the same."""
    if sys.stdout.isatty():
        encoded = b"\n".join(_harmless(each) for each in encoded.split(b"\n"))
    sys.stdout.flush()
    sys.stdout.buffer.write(encoded + b"\n")
    sys.stdout.buffer.flush()


def pretty(value: object) -> None:
    """A value as JSON for people."""
    shown = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write("".join(f"{_harmless(each).decode()}\n" for each in shown.split(b"\n")))
    sys.stdout.flush()


def _harmless(encoded: bytes) -> bytes:
    text = encoded.decode("utf-8", "replace")
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text).encode()


def _escaped(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
