"""The gate: what would break a subscriber is refused, with a sentence that says what to do; what adds to the contract passes."""

import json
import subprocess
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from agent import schemata
from agent.configfile import VENDORS
from tests.contract import gate, planted_shapes, planted_ways, releases, shapes
from tests.contract.planting import (
    ASYNCAPI,
    CHANGES,
    ENERGY,
    LATE,
    NOTES,
    RECORDS,
    RELEASE_DAY,
    SOON,
    Edits,
    ended,
    judged,
    kept,
)
from tests.papers import ROOT

REFUSED = {**planted_shapes.REFUSED, **planted_ways.REFUSED}

PASSES: dict[str, Edits] = {
    "nothing has changed": [],
    "there is a new field": [(RECORDS, NOTES, f"{NOTES}    loyalty: str | None = None\n")],
    "there is a new field that is always there": [(RECORDS, NOTES, f"{NOTES}    loyalty: int\n")],
    "there is a new field of two types": [(RECORDS, NOTES, f"{NOTES}    bed: int | str | None = None\n")],
    "there is a new event": [(CHANGES, '"checked_out", "no_show")', '"checked_out", "no_show", "reactivated")')],
    "there is a new header": [
        (ASYNCAPI, '        "webhook-id": "The', '        "webhook-new": "New.",\n        "webhook-id": "The')
    ],
    "a field that could be absent is always there": [
        (RECORDS, '    currency: Annotated[str | None, says("ISO', '    currency: Annotated[str, says("ISO'),
        (RECORDS, 'code of its prices.")] = None', 'code of its prices.")]'),
    ],
    "there is another way to sign in to the bus": [
        (ASYNCAPI, '"nkey": {"type"', '"spiffe": {"type": "X509"},\n        "nkey": {"type"'),
        (ASYNCAPI, '"nkey", "token"', '"nkey", "spiffe", "token"'),
    ],
    "a unit that nobody knew is told": [(ENERGY, '"Voltage.", UNKNOWN', '"Voltage.", "V"')],
    "only the words are others": [(RECORDS, "What the guest wrote.", "What the guest has written.")],
    "the number goes up and the old one is kept for long enough": kept(LATE),
    "an event is no longer sent, which is announced in time": [
        (CHANGES, ', "checked_out", "no_show")', ', "checked_out")'),
        *ended("no_show"),
    ],
    "one vendor no longer sends an event, which a new number announces": [
        (CHANGES, '"booking": (*COMMON, "confirmed", "cancelled", "reac', '"booking": (*COMMON, "confirmed", "reac'),
        *kept(LATE),
    ],
    "another vendor sends an event": [
        (CHANGES, '"confirmed", "cancelled", "reac', '"confirmed", "cancelled", "no_show", "reac')
    ],
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_would_break_a_subscriber_is_refused(change: str, tmp_path: Path) -> None:
    edits, sentence = REFUSED[change]
    status, said = judged(tmp_path, edits)
    assert status == 1, said
    assert [line for line in said.splitlines() if line.startswith(sentence)], f"{sentence}\n\n{said}"


@pytest.mark.parametrize("change", PASSES)
def test_what_adds_to_the_contract_passes(change: str, tmp_path: Path) -> None:
    assert judged(tmp_path, PASSES[change]) == (0, "no subscriber breaks\n")


def test_no_subscriber_of_the_last_release_breaks() -> None:
    assert releases.breaks(schemata.document(VENDORS), date.today()) == []  # noqa: DTZ011 a day is a day


def test_no_release_breaks_subscribers_of_the_one_before() -> None:
    known = releases.released()
    for (_, before), (name, after) in pairwise(known):
        on = releases.day(after)
        assert gate.broken(before, after, announced=on, today=on) == [], name


def test_a_released_contract_is_the_one_whose_digest_stands_in_the_code() -> None:
    files = {file.stem: releases.digest(file) for file in releases.RELEASED.iterdir()}
    assert files == releases.DIGESTS, "the contract of a release never changes: keep another, under the next version"


def test_a_released_contract_has_one_content_in_the_history() -> None:
    for name in releases.DIGESTS:
        file = f"schemas/released/{name}.json"
        added = git("log", "--diff-filter=A", "--format=%H", "--", file).split()
        if added:  # else it is about to be released
            now = (ROOT / file).read_text(encoding="utf-8")
            assert git("show", f"{added[-1]}:{file}") == now, f"{file} is not what was released"


def test_a_version_is_released_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"0\.1\.0 is released already: its contract never changes"):
        releases.keep("0.1.0", schemata.document(VENDORS), RELEASE_DAY, tmp_path)


def test_a_release_that_breaks_the_last_one_is_not_kept(tmp_path: Path) -> None:
    broken = schemata.document(VENDORS)
    del broken["channels"]["webhook"]
    with pytest.raises(ValueError, match=r"^webhook: the channel is gone"):
        releases.keep("9.0.0", broken, RELEASE_DAY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_release_is_kept_with_its_day_and_without_prose(tmp_path: Path) -> None:
    file = releases.keep("9.0.0", schemata.document(VENDORS), RELEASE_DAY, tmp_path)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert releases.day(found) == RELEASE_DAY
    booking, place = (found["components"]["schemas"][name] for name in ("Booking", "Property"))
    assert booking["properties"]["notes"] == {"type": "string"}
    assert {"title", "name"} <= place["properties"].keys()
    assert found["components"]["schemas"]["booking.cancelled"]["x-vendors"] == ["octorate", "ipro"]


@pytest.mark.parametrize(("keyword", "was", "now"), [("maximum", 10, 5), ("minItems", 1, 0), ("pattern", "^a$", "^b$")])
def test_what_a_value_keeps_to_stays(keyword: str, was: object, now: object) -> None:
    old, new = ({"type": "object", "properties": {"size": {keyword: each}}} for each in (was, now))
    assert list(shapes.worse(old, new, "", shapes.follow({}), shapes.follow({}))) == [
        f"size had {keyword} {was!r} and has {keyword} {now!r}"
    ]


def test_each_of_several_types_stays_what_it_is() -> None:
    def either(flag: str) -> shapes.Node:
        return {"anyOf": [{"type": "string"}, {"type": "object", "properties": {flag: {}}}]}

    found = list(shapes.worse(either("a"), either("b"), "value.", shapes.follow({}), shapes.follow({})))
    assert found == ["value|2.a is gone"]


class TestAnOldNumber:
    """`booking.no_show:1`, which was promised until a day, and what may become of it."""

    def test_may_go_when_its_day_has_come(self) -> None:
        assert judge(promised(LATE), without(), today=LATE) == []

    def test_may_not_go_a_day_before(self) -> None:
        (said,) = judge(promised(LATE), without(), today=LATE - timedelta(days=1))
        assert said.startswith(f"booking.no_show: number 1 was promised until {LATE} and is gone.")

    def test_may_not_end_earlier_than_it_was_promised(self) -> None:
        (said,) = judge(promised(LATE), promised(SOON), today=RELEASE_DAY)
        assert said.startswith(f"booking.no_show: number 1 was promised until {LATE}, not until {SOON}.")

    def test_may_stay_for_longer(self) -> None:
        assert judge(promised(SOON), promised(LATE), today=LATE) == []


def promised(until: date) -> shapes.Node:
    document = schemata.document(VENDORS)
    document["components"]["schemas"]["booking.no_show"]["x-served-until"] = until.isoformat()
    return document


def without() -> shapes.Node:
    document = schemata.document(VENDORS)
    del document["components"]["schemas"]["booking.no_show"]
    return document


def judge(old: shapes.Node, new: shapes.Node, today: date) -> list[str]:
    return gate.broken(old, new, announced=RELEASE_DAY, today=today)


def git(*arguments: str) -> str:
    """What git says; a tree that is no checkout has no history to keep."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout: there is no history")
    return done.stdout
