"""Records of vocational training: scheduled courses, students, and their enrolments. Words as in the AVETMISS collection."""

from datetime import date, datetime
from typing import Annotated, ClassVar

import msgspec

from schemas.meaning import says
from schemas.records import Record


class Course(Record, frozen=True, kw_only=True):
    """A scheduled course: one delivery at one campus. Dates are local. `status`: open, closed, cancelled or completed."""

    resource: ClassVar[str] = "course"
    volatile: ClassVar[frozenset[str]] = frozenset({"updated_at"})
    personal: ClassVar[frozenset[str]] = frozenset({"trainer"})

    name: Annotated[str | None, says("What it is called.")] = None
    nat_code: Annotated[str | None, says("National code of the qualification or unit.")] = None
    location: Annotated[str | None, says("The campus.")] = None
    start_date: Annotated[date | None, says("First day, a local date.")] = None
    end_date: Annotated[date | None, says("Last day, a local date.")] = None
    status: Annotated[str | None, says("`open`, `closed`, `cancelled` or `completed`.")] = None
    capacity: Annotated[int | None, says("How many places there are.", "students")] = None
    enrolled: Annotated[
        int | None, says("How many are taken, where the configuration asks for counters.", "students")
    ] = None
    trainer: Annotated[str | None, says("Who teaches.")] = None
    delivery_mode: Annotated[str | None, says("How it is taught, in the vendor's words.")] = None
    updated_at: Annotated[datetime | None, says("When the vendor last changed it. Alone it makes no event.")] = None

    @property
    def changed_at(self) -> datetime | None:
        return self.updated_at


class Unit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subject of an enrolment. `outcome_national`: the national code, such as 20 achieved, 40 withdrawn, 70 continuing."""

    subject_identifier: Annotated[str | None, says("Code of the unit.")] = None
    name: Annotated[str | None, says("What it is called.")] = None
    outcome_national: Annotated[
        str | None, says("National code, such as 20 achieved, 40 withdrawn, 70 continuing.")
    ] = None
    activity_start_date: Annotated[date | None, says("First day of study, a local date.")] = None
    activity_end_date: Annotated[date | None, says("Last day of study, a local date.")] = None


class Enrolment(Record, frozen=True, kw_only=True):
    """One student in one course. `status`: enrolled, active, withdrawn, completed or cancelled."""

    resource: ClassVar[str] = "enrolment"
    volatile: ClassVar[frozenset[str]] = frozenset({"updated_at"})

    student_id: Annotated[str | None, says("The student: `subject` of `student` events.")] = None
    course_id: Annotated[str | None, says("The course: `subject` of `course` events.")] = None
    status: Annotated[str | None, says("`enrolled`, `active`, `withdrawn`, `completed` or `cancelled`.")] = None
    enrolment_date: Annotated[date | None, says("When the student enrolled, a local date.")] = None
    activity_start_date: Annotated[date | None, says("First day of study, a local date.")] = None
    activity_end_date: Annotated[date | None, says("Last day of study, a local date.")] = None
    funding_source_national: Annotated[str | None, says("National code of who pays.")] = None
    commencing_program: Annotated[str | None, says("National code: a new program, or one that goes on.")] = None
    study_reason: Annotated[str | None, says("National code of why the student studies.")] = None
    units: Annotated[tuple[Unit, ...], says("The units studied, sorted by code.")] = ()
    updated_at: Annotated[datetime | None, says("When the vendor last changed it. Alone it makes no event.")] = None

    @property
    def changed_at(self) -> datetime | None:
        return self.updated_at


class Student(Record, frozen=True, kw_only=True):
    """A person who studies. `usi` and `date_of_birth` only where the configuration says `keep`."""

    resource: ClassVar[str] = "student"
    volatile: ClassVar[frozenset[str]] = frozenset({"updated_at"})
    personal: ClassVar[frozenset[str]] = frozenset(
        {"client_identifier", "first_name", "last_name", "email", "mobile"}
        | {"suburb", "state", "postcode", "usi", "date_of_birth"}
    )

    client_identifier: Annotated[str | None, says("The student's number at the college.")] = None
    first_name: Annotated[str | None, says("First name.")] = None
    last_name: Annotated[str | None, says("Last name.")] = None
    email: Annotated[str | None, says("E-mail address.")] = None
    mobile: Annotated[str | None, says("Mobile telephone.")] = None
    suburb: Annotated[str | None, says("Suburb or town.")] = None
    state: Annotated[str | None, says("State or territory.")] = None
    postcode: Annotated[str | None, says("Postal code.")] = None
    status: Annotated[str | None, says("Where the student stands, in the vendor's words and lower case.")] = None
    usi: Annotated[str | None, says("Unique student identifier, where the configuration says `keep`.")] = None
    date_of_birth: Annotated[date | None, says("Where the configuration says `keep`.")] = None
    updated_at: Annotated[datetime | None, says("When the vendor last changed it. Alone it makes no event.")] = None

    @property
    def changed_at(self) -> datetime | None:
        return self.updated_at
