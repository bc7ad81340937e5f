"""What would break who reads a record or an event: the change, and what is said of it."""

from collections.abc import Mapping

from tests.contract.planting import ENERGY, ENVELOPE, KEPT, LETTINGS, NOTES, RECORDS, UPPER, Edits

REFUSED: Mapping[str, tuple[Edits, str]] = {
    "a field is removed": (
        [(RECORDS, NOTES, "")],
        f"booking.created: data.record.notes is gone. Put it back, or raise `contract` of booking to 2 and {KEPT}",
    ),
    "a field inside another is removed": (
        [
            (
                RECORDS,
                '    email: Annotated[str | None, says("E-mail address; portals often give one of their own.")] = None\n',
                "",
            )
        ],
        "booking.cancelled: data.changes.guest.before.email is gone.",
    ),
    "a field is renamed": (
        [(RECORDS, "    room_name: Annotated", "    room_kind: Annotated")],
        "booking: room_name is gone.",
    ),
    "a field gets another type": (
        [(RECORDS, "    rooms: Annotated[int | None", "    rooms: Annotated[str | None")],
        "booking.modified: data.record.rooms was integer and is string.",
    ),
    "a field that was always there may be absent": (
        [
            (
                RECORDS,
                '    property_id: Annotated[str, says("The property\'s id: `subject` of `property` events.")]\n',
                "    property_id: str | None = None\n",
            )
        ],
        "booking.confirmed: data.record.property_id may be absent now.",
    ),
    "a value is no longer used": (
        [(RECORDS, '    WAITING = "waiting"\n', "")],
        "booking.deleted: data.record.status is never 'waiting' any more.",
    ),
    "there is a new value": (
        [(RECORDS, '    WAITING = "waiting"\n', '    WAITING = "waiting"\n    OPTION = "option"\n')],
        "booking.restored: data.record.status may be 'option' now, which no reader knows.",
    ),
    "a value may be anything": (
        [(ENERGY, "    status: Annotated[DeviceStatus,", "    status: Annotated[str,")],
        "device.offline: data.record.status was a value of a list and is string.",
    ),
    "a format is another": (
        [(RECORDS, "    cancelled_at: Annotated[datetime | None", "    cancelled_at: Annotated[date | None")],
        "booking.cancelled: data.record.cancelled_at had format 'date-time' and has format 'date'.",
    ),
    "a unit is another": (
        [(RECORDS, '"North is positive.", "degrees"', '"North is positive.", "radians"')],
        "property: latitude was in degrees and is in radians.",
    ),
    "what is absent means something else": (
        [
            (
                RECORDS,
                'says("The vendor\'s labels, sorted.")] = ()',
                "says(\"The vendor's labels, sorted.\")] = ('none',)",
            )
        ],
        "booking: tags had default [] and has default ['none'].",
    ),
    "a field of every event is removed": (
        [
            (ENVELOPE, '    pollid: Annotated[str, says("All events of one poll share it.")]\n', ""),
        ],
        "student.created: pollid is gone.",
    ),
    "a field whose changes are told entry by entry is removed": (
        [(LETTINGS, "    days: Annotated", "    calendar: Annotated")],
        "availability.changed: data.record.days is gone. Put it back, or raise `contract` of availability to 2",
    ),
    "a field whose changes are told entry by entry has no entries": (
        [(ENERGY, "    controls: Annotated[dict[str, Control]", "    controls: Annotated[str")],
        r"device.control_changed: data.changes.^controls\. is gone. Put it back, or raise `contract` of device to 2",
    ),
    "a field becomes one of two types": (
        [(RECORDS, "    rooms: Annotated[int | None", "    rooms: Annotated[int | str | None")],
        "booking.modified: data.changes.rooms.before was integer and is integer or string. Put it back, or raise `contract`",
    ),
    "a field may be anything": (
        [(RECORDS, "    rooms: Annotated[int | None", "    rooms: Annotated[Any")],
        "booking.modified: data.record.rooms was integer and is anything. Put it back, or raise `contract` of booking to 2",
    ),
    "a field becomes a mapping": (
        [
            (
                RECORDS,
                '    tags: Annotated[tuple[str, ...], says("The vendor\'s labels, sorted.")] = ()',
                "    tags: dict[str, str] = {}",
            )
        ],
        "booking.modified: data.changes.tags.after was array and is object. Put it back, or raise `contract` of booking to 2",
    ),
    "a field of what is in a list is removed": (
        [(ENERGY, '    flow: Annotated[float | None, says("Flow of water or gas.", UNKNOWN)] = None\n', "")],
        "measurement.batch: data.measurements[].flow is gone.",
    ),
    "a field of what is in a mapping is removed": (
        [(ENERGY, '    on: Annotated[bool | None, says("Whether it is on.")] = None\n', "")],
        "device: controls*.on is gone.",
    ),
    "an object is null and nothing else": (
        [(RECORDS, "    guest: Annotated[Guest | None, ", "    guest: Annotated[None, ")],
        "booking.created: data.record.guest was object and is null.",
    ),
    "a text has to look in some way": (
        [(RECORDS, "    reference: Annotated[str | None, says(", f"    reference: Annotated[{UPPER} | None, says(")],
        "booking.created: data.record.reference had no pattern and has pattern '^[A-Z]*$'.",
    ),
    "an absent value means something": (
        [
            (RECORDS, '    currency: Annotated[str | None, says("ISO', '    currency: Annotated[str, says("ISO'),
            (RECORDS, 'code of its prices.")] = None', 'code of its prices.")] = "EUR"'),
        ],
        "property.created: data.record.currency had no default and has default 'EUR'.",
    ),
    "entries of changes have other names": (
        [(ENERGY, r'r"^controls\."', r'r"^switches\."')],
        r"device.control_changed: data.changes.^controls\. is gone.",
    ),
    "a change of a field is no longer told": (
        [(RECORDS, 'frozenset({"updated_at"})', 'frozenset({"updated_at", "total"})')],
        "booking.modified: data.changes.total is gone.",
    ),
}
