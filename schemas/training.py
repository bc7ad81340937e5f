"""Records of vocational training: scheduled courses, students, and their enrolments. Words as in the AVETMISS collection."""

from datetime import date, datetime
from typing import ClassVar

import msgspec

from schemas.records import Record


class Course(Record, frozen=True, kw_only=True):
    """A scheduled course: one delivery at one campus. Dates are local. `status`: open, closed, cancelled or completed."""

    resource: ClassVar[str] = "course"
    volatile: ClassVar[frozenset[str]] = frozenset({"updated_at"})

    name: str | None = None
    nat_code: str | None = None
    location: str | None = None
    start_date: date | None = None
    end_date: date | None = None
    status: str | None = None
    capacity: int | None = None
    enrolled: int | None = None
    trainer: str | None = None
    delivery_mode: str | None = None
    updated_at: datetime | None = None

    @property
    def changed_at(self) -> datetime | None:
        return self.updated_at


class Unit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subject of an enrolment. `outcome_national`: the national code, such as 20 achieved, 40 withdrawn, 70 continuing."""

    subject_identifier: str | None = None
    name: str | None = None
    outcome_national: str | None = None
    activity_start_date: date | None = None
    activity_end_date: date | None = None


class Enrolment(Record, frozen=True, kw_only=True):
    """One student in one course. `status`: enrolled, active, withdrawn, completed or cancelled."""

    resource: ClassVar[str] = "enrolment"
    volatile: ClassVar[frozenset[str]] = frozenset({"updated_at"})

    student_id: str | None = None
    course_id: str | None = None
    status: str | None = None
    enrolment_date: date | None = None
    activity_start_date: date | None = None
    activity_end_date: date | None = None
    funding_source_national: str | None = None
    commencing_program: str | None = None
    study_reason: str | None = None
    units: tuple[Unit, ...] = ()
    updated_at: datetime | None = None

    @property
    def changed_at(self) -> datetime | None:
        return self.updated_at


class Student(Record, frozen=True, kw_only=True):
    """A person who studies. `usi` and `date_of_birth` only where the configuration says `keep`."""

    resource: ClassVar[str] = "student"
    volatile: ClassVar[frozenset[str]] = frozenset({"updated_at"})

    client_identifier: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    mobile: str | None = None
    suburb: str | None = None
    state: str | None = None
    postcode: str | None = None
    status: str | None = None
    usi: str | None = None
    date_of_birth: date | None = None
    updated_at: datetime | None = None

    @property
    def changed_at(self) -> datetime | None:
        return self.updated_at
