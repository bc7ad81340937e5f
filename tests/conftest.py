"""What all tests share."""

from collections.abc import Iterator

import pytest

from schemas.settings import Secret


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance", action="store_true", help="print the conformance suite as a table")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_secret_of_another_test() -> Iterator[None]:
    """Every text revealed is masked in every log line: one test's `second` is no secret in the next."""
    Secret.known.clear()
    yield
    Secret.known.clear()
