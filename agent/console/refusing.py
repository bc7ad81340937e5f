"""Why a request is refused: the status, a sentence that says what to do, and how that becomes an answer."""

import logging
import math
from collections.abc import Awaitable, Callable

import anyio
import msgspec
from aiohttp import web

from agent.commands.failures import IN_DOUBT, Failed, WrongUsage
from connectors.errors import VendorError
from events.jetstream.errors import BusError
from events.jetstream.pull import ConsumerGone
from events.ledger import Conflict, LedgerUnavailable

WITHIN = 20.0  # seconds an answer may take that is no stream: nobody waits longer for a bus that hangs

log = logging.getLogger("vendorwire.console")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """`status` is the HTTP status, the message a sentence; `wait`: seconds after which it may be tried again."""

    def __init__(self, status: int, sentence: str, wait: float = 0.0) -> None:
        super().__init__(sentence)
        self.status = status
        self.wait = wait


class InDoubt(Refused):
    """The bus gave no answer to an action that had begun: it may be in force."""

    def __init__(self, error: Exception) -> None:
        super().__init__(504, f"{IN_DOUBT} ({error})")


async def answered(handler: Handler, request: web.Request, *, endless: bool) -> web.StreamResponse:
    """The handler's answer, in time unless it is to be `endless`; where it fails, why."""
    try:
        with anyio.fail_after(math.inf if endless else WITHIN):
            return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 whatever it is, it ends in an answer
        return _refusal(error, request)


def _refusal(error: Exception, request: web.Request) -> web.Response:
    match error:
        case Refused():
            return refusal(error)
        case WrongUsage():
            return refusal(Refused(409, str(error)))
        case Failed():
            return refusal(Refused(404, str(error)))
        case Conflict():
            return refusal(Refused(409, "agents keep changing this while it is changed here: try again"))
        case BusError() | LedgerUnavailable() | ConsumerGone() | VendorError():
            return refusal(Refused(503, f"the bus does not do it at present: {error}", 2))
        case TimeoutError():
            return refusal(Refused(503, f"no answer within {WITHIN:g} s: the bus is slow, or away; try again", 2))
        case _:
            log.error("a request of the console failed in an unforeseen way: %s", request.path, exc_info=error)
            return refusal(Refused(500, "an unforeseen failure: the agent's log says more"))


def refusal(refused: Refused) -> web.Response:
    """The answer that says so."""
    headers = {"Retry-After": str(max(round(refused.wait), 1))} if refused.wait else {}
    return json({"error": str(refused)}, refused.status, headers)


def json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer in JSON."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
