"""The charts' READMEs: `python -m tests.helm.readme` writes their tables of values, from the comments in values.yaml."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import helm_python

from tests.helm.chart import CHART, UMBRELLA

BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"
_KEY = re.compile(r"( *)([A-Za-z0-9_$./-]+):( .*)?$")
_COMMENT = re.compile(r" *# (.*)$")


class Value(NamedTuple):
    """A value with a comment: its path, its default, what it is."""

    path: tuple[str, ...]
    default: Any
    text: str


def commented(chart: Path) -> list[Value]:
    """The values that have a comment of their own, in their order."""
    text = (chart / "values.yaml").read_text()
    defaults = helm_python.values_from_yaml(text)
    return [Value(path, _at(defaults, path), said) for path, said in _comments(text) if said]


def uncommented(chart: Path) -> list[str]:
    """The values that neither have a comment nor are part of one that has."""
    told = [value.path for value in commented(chart)]
    leaves = _leaves(helm_python.values_from_yaml((chart / "values.yaml").read_text()), ())
    return [".".join(leaf) for leaf in leaves if not any(leaf[: len(path)] == path for path in told)]


def table(chart: Path) -> str:
    """One row for each value."""
    rows = [f"| `{'.'.join(path)}` | `{_shown(default)}` | {text} |" for path, default, text in commented(chart)]
    return "\n".join(["| value | default | |", "|---|---|---|", *rows, ""])


def written(chart: Path) -> str:
    """The README with its table as it should be."""
    before, _, rest = (chart / "README.md").read_text().partition(BEGIN)
    return f"{before}{BEGIN}{table(chart)}{END}{rest.partition(END)[2]}"


def values_shown(chart: Path) -> list[dict[str, Any]]:
    """The values that the README has as examples."""
    blocks = re.findall(r"^( *)```yaml\n(.*?)^\1```$", (chart / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [helm_python.values_from_yaml(dedent(block)) for _, block in blocks]


def _comments(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each key's path and the comment right above it. The file's own, before the first blank line, is nobody's."""
    above: list[str] = []
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if found := _COMMENT.match(line):
            above.append(found[1])
        elif found := _KEY.match(line):
            depth = len(found[1])
            path = [*(each for each in path if each[0] < depth), (depth, found[2])]
            yield tuple(name for _, name in path), " ".join(above)
            above = []
        else:
            above = []


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _leaves(below, (*path, name))
    else:
        yield path


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


if __name__ == "__main__":
    for each in (CHART, UMBRELLA):
        (each / "README.md").write_text(written(each))
