"""What would break who is sent something, or is sent it no more: the change, and what is said of it."""

from collections.abc import Mapping

from tests.contract.planting import (
    ASYNCAPI,
    CHANGES,
    ENVELOPE,
    KEPT,
    LATE,
    NOTES,
    PAST,
    RECORDS,
    SNAPSHOT,
    SOON,
    SUBJECTS,
    Edits,
    ended,
    kept,
)

REFUSED: Mapping[str, tuple[Edits, str]] = {
    "an event is no longer sent": (
        [(CHANGES, ', "checked_out", "no_show")', ', "checked_out")')],
        f"booking.no_show: it is no longer sent. Keep number 1 in schemas/past.py until {LATE} or later,",
    ),
    "one vendor no longer sends an event": (
        [(CHANGES, '"booking": (*COMMON, "confirmed", "cancelled", "reac', '"booking": (*COMMON, "confirmed", "reac')],
        f"booking.cancelled: ipro no longer sends it. Put it back, or raise `contract` of booking to 2 and {KEPT}",
    ),
    "one vendor no longer tells that a record is new": (
        [(CHANGES, '"property": COMMON', '"property": (MODIFIED, DELETED, RESTORED)')],
        "property.created: octorate no longer sends it. Put it back, or raise",
    ),
    "an end is announced for one vendor while another goes on": (
        [
            (
                CHANGES,
                '"booking": (*COMMON, "confirmed", "cancelled", "reac',
                '"booking": (*COMMON, "confirmed", "reac',
            ),
            *ended("cancelled"),
        ],
        "booking.cancelled: number 1 is in schemas/past.py, and octorate still sends it. Raise `contract` of booking to 2,",
    ),
    "a resource is no longer told of": (
        [(CHANGES, '            "availability": ("changed",),\n', "")],
        f"availability.changed: it is no longer sent. Keep number 1 in schemas/past.py until {LATE} or later,",
    ),
    "a vendor is no longer told of": (
        [(CHANGES, '        "powerpro": {\n', '        "powerplus": {\n')],
        "course.events: the channel is gone, and with it vendorwire.event.{vendor}.{account}.course.{change}. Put it back:",
    ),
    "a number goes down": (
        [(RECORDS, "    contract: ClassVar[int] = 1", "    contract: ClassVar[int] = 0")],
        "student.created: it is no longer sent.",
    ),
    "a shape has a name of another form": (
        [("agent/schemata.py", 'f"urn:vendorwire:{self.name}:{', 'f"urn:vendorwire:{self.name}/v{')],
        "booking.created: the name of its shape is urn:vendorwire:booking.created/v1, not urn:vendorwire:booking.created:",
    ),
    "a header of the bus is renamed": (
        [("events/jetstream/ledger.py", '"Vendorwire-Key"', '"Vendorwire-Token"')],
        "booking.created: header Vendorwire-Key is gone. Put it back",
    ),
    "a field of a webhook's other form is renamed": (
        [(ASYNCAPI, '        "timestamp": {**_TEXT', '        "time": {**_TEXT')],
        "webhook.standard: timestamp is gone. Put it back",
    ),
    "a webhook holds something else": (
        [
            (
                ASYNCAPI,
                '"payload": any_event,\n            **_shown("webhook"',
                '"payload": {},\n            **_shown("webhook"',
            )
        ],
        "webhook: it is no longer account.degraded or account.recovered or availability.changed or",
    ),
    "a snapshot holds something else": (
        [
            (
                ASYNCAPI,
                '"payload": {"$ref": SCHEMA.format(name=record)}',
                '"payload": {"$ref": SCHEMA.format(name="Money")}',
            )
        ],
        "booking.snapshot: it is no longer booking. Put it back",
    ),
    "a webhook has one form only": (
        [(ASYNCAPI, '"receiver", "webhook", "webhook.standard")', '"receiver", "webhook")')],
        "webhook: webhook.standard does not come by it any more. Put it back",
    ),
    "a webhook is another request": (
        [(ASYNCAPI, '"method": "POST"', '"method": "PUT"')],
        "operations.webhook.bindings.http.method was POST and is PUT. Put it back",
    ),
    "a signature is in another header": (
        [(ASYNCAPI, '"name": "webhook-signature", "desc', '"name": "x-signature", "desc')],
        "securitySchemes.signature.name was webhook-signature and is x-signature. Put it back",
    ),
    "a way to sign in to the bus is gone": (
        [(ASYNCAPI, '("user", "credentials", "nkey", "token"', '("user", "credentials", "token"')],
        "servers.bus.security has no nkey any more. Put it back",
    ),
    "a subject is another": (
        [(SUBJECTS, "_scoped('snapshot'", "_scoped('record'")],
        f"booking.snapshots: the subject was {SNAPSHOT} and is {SNAPSHOT.replace('snapshot', 'record')}. Put it back:",
    ),
    "a header is removed": (
        [(ASYNCAPI, '        "vendorwire-attempt": "Counts the attempts from 1.",\n', "")],
        "webhook: header vendorwire-attempt is gone. Put it back",
    ),
    "a header may be missing": (
        [(ASYNCAPI, "required=[VERSION, SCHEMA_VERSION]", "required=[SCHEMA_VERSION]")],
        "device.snapshot: header Vendorwire-Version may be absent now.",
    ),
    "a content type is another": (
        [(ENVELOPE, '"application/cloudevents+json"', '"application/json"')],
        "webhook: the content type was application/cloudevents+json and is application/json.",
    ),
    "the number goes up and the old one is not kept": (
        [
            (RECORDS, NOTES, ""),
            (
                RECORDS,
                '    resource: ClassVar[str] = "booking"\n',
                '    resource: ClassVar[str] = "booking"\n    contract = 2\n',
            ),
        ],
        "booking.no_show: it has a new number, and the old one is not kept. Keep number 1 in schemas/past.py",
    ),
    "the number goes up and the old one ends too soon": (
        kept(SOON),
        f"booking.no_show: number 1 ends on {SOON}, which is too soon: keep it in schemas/past.py until {LATE} at least.",
    ),
    "what is kept of an old number is not what it was": (
        [*kept(LATE), (PAST, "    notes: str | None = None\n", "    notes: int | None = None\n")],
        "booking.no_show: data.record.notes was string and is integer.",
    ),
}
