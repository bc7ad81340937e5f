"""The fake PowerPro's data: courses, students and enrolments in the vendor's own shape, and the ways it spells them.

All of it is invented. Every USI contains PRIVATE and every birth date is BORN: they must not leave a connector unasked.
"""

import random
from datetime import date, datetime, timedelta
from typing import Any

from connectors.sandbox.base import Wire

PRIVATE = "sandbox-private"
BORN = "1931-02-03"
_COURSES = [
    ("Certificate III in Music", "CUA30920", "Perth Northbridge Campus", ("CUAMUP311", "CUAMPF311", "BSBTWK301")),
    ("Certificate IV in Cookery", "SIT40521", "Fremantle Campus", ("SITHCCC043", "SITXFSA005", "SITXHRM008")),
    ("Diploma of Nursing", "HLT54121", "Joondalup Campus", ("HLTENN035", "HLTWHS002", "HLTINF006")),
]
_SUBJECTS = {
    "CUAMUP311": "Prepare personal appearance for performances",
    "CUAMPF311": "Develop technical skills for musical performances",
    "BSBTWK301": "Use inclusive work practices",
    "SITHCCC043": "Work effectively as a cook",
    "SITXFSA005": "Use hygienic practices for food safety",
    "SITXHRM008": "Roster staff",
    "HLTENN035": "Practise nursing within the Australian health care system",
    "HLTWHS002": "Follow safe work practices for direct client care",
    "HLTINF006": "Apply basic principles of infection control",
}
_NAMES = [("Elisa", "Sample"), ("Ada", "Esempio"), ("Jan", "Voorbeeld"), ("Mia", "Muster"), ("Noé", "Exemple")]
_TRAINERS = ["A. Trainer", "B. Assessor", None]
_DATES = frozenset({"start_date", "end_date", "enrolment_date", "activity_start_date", "activity_end_date"})
_IDS = frozenset({"id", "student_id", "course_id"})


def course(id_: int, rng: random.Random, now: datetime) -> Wire:
    """An invented course that begins within half a year and lasts about one."""
    name, code, campus, _ = rng.choice(_COURSES)
    start = now.date() + timedelta(days=rng.randrange(1, 180))
    return {
        "id": id_,
        "name": name,
        "nat_code": code,
        "location": campus,
        "start_date": unpadded(start),
        "end_date": unpadded(start + timedelta(days=rng.randrange(200, 400))),
        "status": "open",
        "capacity": rng.choice([12, 20, 25]),
        "enrolled": 0,
        "trainer": rng.choice(_TRAINERS),
        "delivery_mode": "10",
        "updated_at": instant(now),
    }


def student(id_: int, rng: random.Random, now: datetime) -> Wire:
    given, family = rng.choice(_NAMES)
    return {
        "id": id_,
        "client_identifier": f"C{id_:06}",
        "usi": f"{PRIVATE}-usi-{id_}",
        "first_name": given,
        "last_name": family,
        "email": f"student.{id_}@example.com",
        "mobile": "0400 000 000",
        "date_of_birth": BORN,
        "suburb": rng.choice(["Northbridge", "Fremantle", "Joondalup"]),
        "state": "WA",
        "postcode": rng.choice(["6003", "6160", "6027"]),
        "status": "active",
        "updated_at": instant(now),
    }


def enrolment(id_: int, student_id: int, course: Wire, rng: random.Random, now: datetime) -> Wire:
    """A student's place in a course, all its units continuing (outcome 70)."""
    subjects = next((each[3] for each in _COURSES if each[1] == course.get("nat_code")), _COURSES[0][3])
    start, end = course.get("start_date"), course.get("end_date")
    return {
        "id": id_,
        "student_id": student_id,
        "course_id": course["id"],
        "status": "active",
        "enrolment_date": now.date().isoformat(),
        "activity_start_date": start,
        "activity_end_date": end,
        "funding_source_national": rng.choice(["20", "11", "30"]),
        "commencing_program": "3",
        "study_reason": rng.choice(["03", "11", "12"]),
        "units": [
            {
                "subject_identifier": subject,
                "name": _SUBJECTS[subject],
                "outcome_national": "70",
                "activity_start_date": start,
                "activity_end_date": end,
            }
            for subject in subjects
        ],
        "updated_at": instant(now),
    }


def unpadded(day: date) -> str:
    """A date as the vendor's own sample has it: `2024-9-20`."""
    return f"{day.year}-{day.month}-{day.day}"


def instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def respelled(value: Any, noise: random.Random, name: str = "") -> Any:
    """The same value: dates padded or not, ids as numbers or texts, null or absent, keys and units in any order."""
    if isinstance(value, dict):
        shown = {key: each for key, each in value.items() if each is not None or noise.random() < 0.5}
        return {key: respelled(shown[key], noise, key) for key in noise.sample(list(shown), len(shown))}
    if isinstance(value, list):
        return [respelled(each, noise) for each in noise.sample(value, len(value))]
    if name in _IDS:
        return noise.choice([value, str(value)])
    if name in _DATES and isinstance(value, str) and noise.random() < 0.5:
        return "-".join(f"{int(part):02}" for part in value.split("-"))
    if name == "updated_at" and isinstance(value, str) and value.endswith("Z"):
        return value.removesuffix("Z") + noise.choice(["Z", ".000000Z", "+00:00"])
    return value
