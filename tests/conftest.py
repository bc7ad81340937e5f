"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Secret
from tests.nats import NatsServer, start_nats


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance", action="store_true", help="print the conformance suite as a table")
    parser.addoption("--torture", action="store_true", help="the long run of tests/faults; keeps its figures")


def pytest_xdist_auto_num_workers() -> int:
    """Five for two cores: these tests mostly wait for servers, processes and time-outs."""
    return 5 * len(os.sched_getaffinity(0)) // 2


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A NATS server of the test's own."""
    with start_nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture(autouse=True)
def _no_secret_of_another_test() -> Iterator[None]:
    """Every text revealed is masked in every log line: one test's `second` is no secret in the next."""
    Secret.known.clear()
    yield
    Secret.known.clear()
