"""The API as a table: what there is, what it takes, what it answers, and who may ask. The OpenAPI document is made from it."""

from typing import Literal

import msgspec

from agent.console import questions, shapes
from agent.console.shapes import Done

Kind = Literal["open", "read", "act"]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. `name` is its handler's, `about` a sentence; `answer`, `query` and `body` are None where it has none."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    name: str
    about: str
    kind: Kind = "read"
    answer: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    stream: bool = False
    errors: tuple[int, ...] = ()


def _read(path: str, name: str, about: str, answer: type[msgspec.Struct] | None, **more: object) -> Endpoint:
    return Endpoint(method="GET", path=f"/api{path}", name=name, about=about, answer=answer, **more)  # type: ignore[arg-type] # a dictionary's values are of any type


def _act(path: str, name: str, about: str, body: type[msgspec.Struct] = questions.Nothing) -> Endpoint:
    return Endpoint(
        method="POST",
        path=f"/api{path}",
        name=name,
        about=about,
        kind="act",
        answer=Done,
        body=body,
        errors=(404, 409, 504),
    )


ENDPOINTS = (
    _read("/session", "session", "Who is asking, and what he may.", shapes.Session, kind="open"),
    Endpoint(
        method="POST",
        path="/api/session",
        name="sign_in",
        about="Sign in with the admin token: the answer sets a cookie.",
        kind="open",
        body=questions.SignIn,
    ),
    Endpoint(method="DELETE", path="/api/session", name="sign_out", about="Forget the cookie.", kind="open"),
    _read("/openapi.json", "openapi", "This document.", None, kind="open"),
    _read("/overview", "overview", "The whole picture, troubles first.", shapes.Overview, query=questions.Place),
    _read("/history", "history", "Charts of the last hours.", shapes.HistoryView, query=questions.Past),
    _read("/events", "events", "Past events, newest first.", shapes.Events, query=questions.WhichPast),
    _read(
        "/events/{id}",
        "story",
        "An event and what became of it, by its id or the first 8 characters of it.",
        shapes.Story,
        query=questions.Reveal,
        errors=(404, 409),
    ),
    _read("/dead", "letters", "Dead letters, newest first.", shapes.Letters, query=questions.WhichLetters),
    _read("/dead/{id}", "letter", "A dead letter whole.", shapes.WholeLetter, query=questions.Reveal, errors=(404,)),
    _read("/deletes", "deletes", "Deletes that wait for a person.", shapes.Deletes),
    _read("/quarantine", "quarantine", "Records that could not be read.", shapes.Quarantine),
    _read("/audit", "audit", "What was done, by whom.", shapes.Acts, query=questions.Few),
    _read(
        "/live",
        "live",
        "Changes and overviews as they come.",
        None,
        query=questions.WhichLive,
        stream=True,
        errors=(429,),
    ),
    _act("/accounts/{account}/pause", "pause", "Poll an account no more for a while.", questions.Pause),
    _act("/accounts/{account}/resume", "resume", "Poll an account again."),
    _act("/accounts/{account}/{resource}/poll", "poll", "Poll now."),
    _act(
        "/accounts/{account}/{resource}/rebaseline",
        "rebaseline",
        "Read a resource anew: silently, or with events for what differs.",
        questions.Rebaseline,
    ),
    _act("/accounts/{account}/{resource}/rewind", "rewind", "Read again from a time on.", questions.Rewind),
    _act("/accounts/{account}/{resource}/interval", "interval", "Poll more or less often.", questions.Interval),
    _act("/routes/{route}/resume", "resume_route", "Try a route again that rests or is stopped."),
    _act("/routes/{route}/replay", "replay_events", "Deliver past events again.", questions.Replay),
    _act("/dead/replay", "replay_dead", "Deliver dead letters again.", questions.WhichDead),
    _act("/dead/drop", "drop_dead", "Drop dead letters for good.", questions.WhichDead),
    _act("/deletes/{account}/{resource}/approve", "approve", "Publish held deletes."),
)
