"""The named places: each is somewhere in the code, once or twice, and nothing is armed unless the environment says so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from events import failpoints

ROOT = Path(__file__).parents[2]
CALL = re.compile(r'failpoints\.reached\("([a-z.]+)"')


def test_every_place_is_in_the_code_and_every_one_in_the_code_has_a_name() -> None:
    found = [
        name
        for folder in ("agent", "events")
        for file in (ROOT / folder).rglob("*.py")
        for name in CALL.findall(file.read_text())
    ]
    assert {*found} == {*failpoints.NAMES}


def test_without_the_variable_a_place_is_an_empty_function() -> None:
    assert failpoints.reached is failpoints._never
    for name in failpoints.NAMES:
        failpoints.reached(name, "octorate")


@pytest.mark.parametrize(
    "spec", ["poll", "poll.eaten", "poll.read:0", "poll.read@", "poll.read:x", "poll.read ", "poll.read@ipro:1:2"]
)
def test_what_names_no_place_is_refused_with_the_names_there_are(spec: str) -> None:
    with pytest.raises(ValueError, match=r"NAME@VENDOR:TURN, where NAME is one of poll.taken, "):
        failpoints.armed(spec)


@pytest.mark.parametrize(
    ("spec", "died_after"),
    [("poll.read", 1), ("poll.read:2", 3), ("poll.read@ipro", 2), ("poll.read@ipro:2", 4), ("poll.taken", None)],
)
def test_the_process_ends_at_its_place_and_turn(spec: str, died_after: int | None) -> None:
    places = [("poll.read", "octorate"), ("poll.read", "ipro"), ("poll.read", "octorate"), ("poll.read", "ipro")]
    if spec == "poll.read:2":
        places.insert(1, ("poll.begun", "ipro"))
    program = (
        f"from events import failpoints\nfor place in {places}:\n    print(flush=True)\n    failpoints.reached(*place)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={failpoints.VARIABLE: spec}, cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, len(done.stdout)) == ((-9, died_after) if died_after else (0, len(places)))
