"""A request, read and checked: what it asks with, what it brings, and who it is from."""

from typing import Any

import msgspec
from aiohttp import web

from agent.console.door import Caller
from agent.console.endpoints import Endpoint
from agent.console.refusing import Refused


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `query` and `body` are of the endpoint's own structs."""

    request: web.Request
    caller: Caller
    query: Any
    body: Any

    def word(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]


async def read(endpoint: Endpoint, request: web.Request, caller: Caller) -> Call:
    """Raises Refused where something is not as it must be."""
    return Call(request=request, caller=caller, query=_query(endpoint, request), body=await _body(endpoint, request))


def _query(endpoint: Endpoint, request: web.Request) -> Any:
    asked = request.query
    if len(set(asked)) != len(asked):
        raise Refused(400, "a parameter may be given once")
    if endpoint.query is None:
        if asked:
            raise Refused(400, f"this takes no parameters; {next(iter(asked))[:80]!r} is one")
        return None
    try:
        return msgspec.convert(dict(asked), endpoint.query, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(400, f"the parameters are not as they must be: {error}") from None


async def _body(endpoint: Endpoint, request: web.Request) -> Any:
    if endpoint.body is None:
        return None
    body = await request.read()
    if not body:
        body = b"{}"
    elif request.content_type != "application/json":
        raise Refused(415, "the body must be JSON, with `Content-Type: application/json`")
    try:
        return msgspec.json.decode(body, type=endpoint.body)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise Refused(400, f"the body is not as it must be: {error}") from None
