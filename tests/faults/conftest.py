"""The figures of the fault suite: each test notes what it caused and what it measured; `make torture` prints and keeps them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.figures import Figure, write

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.fixture
def torture(request: pytest.FixtureRequest) -> bool:
    """Whether this is the long run (`make torture`)."""
    return bool(request.config.getoption("--torture"))


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str, str, str], None]:
    """Note a figure: the promise it belongs to, the fault that was caused, and what was measured, units included."""

    def note(promise: str, fault: str, figure: str) -> None:
        record_property("figure", Figure(promise=promise, fault=fault, measured=figure).wire())

    return note


class _Gathered:
    """What the tests of this run noted."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.figures += [Figure.of(value) for name, value in report.user_properties if name == "figure"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        for figure in sorted(self.figures):
            terminalreporter.write_line(figure.line())
        if exitstatus == 0 and self.figures:
            write(PAGE, self.figures)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--torture", default=False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Gathered(), "figures")
