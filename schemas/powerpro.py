"""PowerPro's replies: only the fields used, lenient. All but the first fields of a course are assumed, not documented, so
every field but the id may be missing, and what is text may come as a number."""

from typing import Any

import msgspec

Number = int | float | str | None
Text = str | int | float | None


class Wire(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Unknown fields are ignored. Dates are text: the vendor's own sample writes `2024-9-20`."""


class Token(Wire, frozen=True):
    access_token: str
    expires_in: Any = None


class Answer(Wire, frozen=True):
    """Any reply: where it has an `error`, it is none, whatever its status. The error is a text or `{code, description}`."""

    error: Any = None


class Paging(Wire, frozen=True):
    """What the vendor says of its pages. Only a hint, so of any type."""

    last_page: Any = None
    per_page: Any = None
    total: Any = None


class Paged(Paging, frozen=True, kw_only=True):
    """A listing that brings its paging along, inside `data`."""

    data: list[msgspec.Raw]


class Listing(Wire, frozen=True):
    """A page of a listing; the paging may be beside it, inside it, or missing."""

    data: list[msgspec.Raw] | Paged
    meta: Paging | list[msgspec.Raw] | None = None


class Found(Wire, frozen=True):
    """What was asked for by id."""

    data: msgspec.Raw


class Identified(Wire, frozen=True):
    id: int | float | str


class Course(Identified, frozen=True):
    name: Text = None
    nat_code: Text = None
    location: Text = None
    start_date: str | None = None
    end_date: str | None = None
    status: Text = None
    capacity: Number = None
    enrolled: Number = None
    trainer: Text = None
    delivery_mode: Text = None
    updated_at: str | None = None


class Unit(Wire, frozen=True):
    subject_identifier: Text = None
    name: Text = None
    outcome_national: Text = None
    activity_start_date: str | None = None
    activity_end_date: str | None = None


class Enrolment(Identified, frozen=True):
    student_id: Text = None
    course_id: Text = None
    status: Text = None
    enrolment_date: str | None = None
    activity_start_date: str | None = None
    activity_end_date: str | None = None
    funding_source_national: Text = None
    commencing_program: Text = None
    study_reason: Text = None
    units: list[Unit] | None = None
    updated_at: str | None = None


class Student(Identified, frozen=True):
    client_identifier: Text = None
    first_name: Text = None
    last_name: Text = None
    email: Text = None
    mobile: Text = None
    suburb: Text = None
    state: Text = None
    postcode: Text = None
    status: Text = None
    usi: Text = None
    date_of_birth: str | None = None
    updated_at: str | None = None
