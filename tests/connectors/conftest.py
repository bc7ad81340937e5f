"""`make conformance`: the conformance suite as a table, vendor by behaviour."""

import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from schemas.changes import CATALOGUE

_NAME = re.compile(r"test_conformance\.py::test_(\w+)\[(.*)\]")


@pytest.hookimpl(hookwrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Iterator[None]:
    """Print the table where it was asked for."""
    yield
    if not config.getoption("--conformance"):
        return
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            if named := _NAME.search(report.nodeid):
                for vendor in CATALOGUE.keys() & set(named[2].split("-")):
                    found[named[1]][vendor].add(outcome)
    columns = list(CATALOGUE)
    wide = max(map(len, found), default=0)
    terminalreporter.write_line(" ".join([" " * wide, *columns]))
    for behaviour, by_vendor in sorted(found.items()):
        marks = ["yes" if by_vendor[each] == {"passed"} else "NO" if by_vendor[each] else "–" for each in columns]
        cells = [mark.ljust(len(each)) for mark, each in zip(marks, columns, strict=True)]
        terminalreporter.write_line(" ".join([behaviour.replace("_", " ").ljust(wide), *cells]).rstrip())
