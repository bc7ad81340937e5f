"""The figures of the fault suite: each test notes what it caused and what it measured; `make torture` prints and keeps them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.figures import PROMISES, Figure, in_order, write

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.fixture
def torture(request: pytest.FixtureRequest) -> bool:
    """Whether this is the long run (`make torture`)."""
    return bool(request.config.getoption("--torture"))


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str, str, str], None]:
    """Note a figure: the promise it belongs to, the fault that was caused, and what was measured, units included."""

    def note(promise: str, fault: str, figure: str) -> None:
        assert promise in PROMISES, promise
        record_property("figure", Figure(promise=promise, fault=fault, measured=figure).wire())

    return note


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest test begins first, so that the others run beside it; the long run has all the time it needs."""
    items.sort(key=lambda item: "test_crashes.py" not in item.nodeid)
    if config.getoption("--torture", default=False):
        for item in items:
            item.add_marker(pytest.mark.timeout(7200), append=False)


class _Gathered:
    """What the tests of this run noted, by file; a file of which a test failed has nothing to tell."""

    def __init__(self) -> None:
        self._figures: dict[str, list[Figure]] = {}
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = Path(report.nodeid.partition("::")[0]).stem
        if report.failed:
            self._failed.add(file)
        if report.when == "call":
            noted = [Figure.of(value, file) for name, value in report.user_properties if name == "figure"]
            self._figures.setdefault(file, []).extend(noted)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        told = {file: some for file, some in self._figures.items() if some and file not in self._failed}
        for figure in in_order(figure for some in told.values() for figure in some):
            terminalreporter.write_line(figure.line())
        if told:
            write(PAGE, told)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--torture", default=False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Gathered(), "figures")
