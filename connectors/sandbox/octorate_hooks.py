"""The fake Octorate's webhooks: who has subscribed to what, and the calls that follow a change.

As the vendor's paper says: one subscription of each event; the reservation is a JSON text inside the JSON; any answer but 200
is asked again with growing delay, and 406 ends that. `hmac` is made up: how the vendor makes it is not published.
"""

import json
from collections.abc import Callable
from datetime import datetime

import httpx

from connectors.sandbox.base import Call, Refusal, Wire, form
from connectors.sandbox.octorate_data import instant

EVENTS = (
    *("RESERVATION_CREATED", "RESERVATION_CHANGE", "RESERVATION_CANCELLED", "RESERVATION_CONFIRMED"),
    *("CONTENT_NOTIFICATION", "CONTENT_PUSH", "PORTAL_SUBSCRIPTION_CALENDAR", "CHAT_MESSAGE_RECEIVED"),
)


class Subscriptions:
    """The subscriptions of one user."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._calls = 0
        self._made = 0
        self.by_event: dict[str, Wire] = {}

    def answer(self, request: httpx.Request, parts: list[str]) -> httpx.Response:
        """What the vendor answers to `/subscription…`; `parts` is the path after it."""
        match request.method, parts:
            case "GET", [] | ["list"]:
                return httpx.Response(200, json=list(self.by_event.values()))
            case "POST", [event]:
                return httpx.Response(200, json=self._subscribe(event, form(request).get("url", "")))
            case "PUT", [id_]:
                found = self._found(id_)
                found["endpoint"] = _checked(request.url.params.get("url", ""))
                return httpx.Response(200, json=found)
            case "DELETE", [id_]:
                return httpx.Response(200, json=self.by_event.pop(self._found(id_)["type"]))
            case _:
                raise Refusal("MethodNotAllowed", "errMethod")

    def calls(self, event: str, reservation: Wire) -> list[Call]:
        """The calls that tell of a change."""
        subscription = self.by_event.get(event)
        if subscription is None:
            return []
        self._calls += 1
        brief = reservation | {"accommodation": {"id": reservation["accommodation"]["id"]}}
        told = {
            "id": self._calls,
            "type": event,
            "reference": str(reservation["id"]),
            "retry": 0,
            "createTime": instant(self._now()),
            "hmac": "0" * 40,
            "subscription": subscription,
            "content": json.dumps(brief, default=str),
        }
        return [Call(subscription["endpoint"], json.dumps(told).encode())]

    def _subscribe(self, event: str, url: str) -> Wire:
        if event not in EVENTS:
            raise Refusal("ApiParamsExemption", "errSubscriptionType")
        if event in self.by_event:
            raise Refusal("ApiValidationFailed", "RejectLenght")
        self._made += 1
        at = instant(self._now())
        made = {"id": self._made, "apiMember": {"id": 1}, "type": event, "createTime": at, "processTime": at}
        self.by_event[event] = made | {"endpoint": _checked(url), "priority": 0, "enabled": True}
        return self.by_event[event]

    def _found(self, id_: str) -> Wire:
        for subscription in self.by_event.values():
            if str(subscription["id"]) == id_:
                return subscription
        raise Refusal("ApiResourceMissing", "errSubscription")


def _checked(url: str) -> str:
    if not url.startswith(("https://", "http://127.0.0.1")):
        raise Refusal("ApiValidationFailed", "errUrl")
    return url


def event_of(before: Wire | None, after: Wire) -> str:
    """Which event tells of a change."""
    if before is None:
        return "RESERVATION_CREATED"
    if before["status"] != after["status"] and after["status"] in {"CANCELLED", "CONFIRMED"}:
        return f"RESERVATION_{after['status']}"
    return "RESERVATION_CHANGE"
