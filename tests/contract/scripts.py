"""What happens to each fake vendor, control by control, so that every event there is comes about."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from connectors.sandbox.carbontrack import CarbontrackSandbox
from connectors.sandbox.ipro import IproSandbox
from connectors.sandbox.ipro_data import PROVISIONAL
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.powerpro import PowerProSandbox

Step = tuple[str, dict[str, Any]]  # a control, and the body of its request


def octorate(sandbox: OctorateSandbox) -> Iterator[Step]:
    confirmed = [id_ for id_, each in sandbox.reservations.items() if each["status"] == "CONFIRMED"]
    stays, cancelled, absent, gone = confirmed[:4]
    yield "add", {"fields": {"id": 92180839, "status": "WAITING"}}
    yield "confirm", {"id": 92180839}
    yield "change", {"id": stays, "fields": {"totalGuest": 3}}
    yield "touch", {"id": stays}
    yield "check_in", {"id": stays}
    yield "check_out", {"id": stays}
    yield "no_show", {"id": absent}
    yield "cancel", {"id": cancelled}
    was = dict(sandbox.reservations[gone])
    yield "delete", {"id": gone}
    yield "add", {"accommodation": was["accommodation"]["id"], "fields": was}
    yield "change_accommodation", {"accommodation": "112696", "fields": {"name": "Sample Palace & Spa"}}
    yield "forbid", {"accommodation": "200100"}
    yield "allow", {"accommodation": "200100"}
    yield "quota", {"limit": 1_000_000}
    yield from _of_all()


def ipro(sandbox: IproSandbox) -> Iterator[Step]:
    booked = [id_ for id_, each in sandbox.bookings.items() if each["Status"] == "Booking"]
    changed, cancelled, gone = booked[:3]
    yield (
        "add",
        {"property_id": 7858, "fields": {"BookingId": 4000, "BookingStatusId": PROVISIONAL, "Status": "Provisional"}},
    )
    yield "confirm", {"id": 4000}
    yield "change", {"id": changed, "fields": {"Adults": 5}}
    yield "touch", {"id": changed}
    yield "cancel", {"id": cancelled}
    yield "reactivate", {"id": cancelled}
    was = dict(sandbox.bookings[gone])
    yield "remove", {"id": gone}
    yield "add", {"property_id": was["PropertyId"], "fields": was}
    yield "block", {"property_id": 7858, "first": "2026-07-20", "last": "2026-07-24"}
    yield "unblock", {"id": max(sandbox.blockouts)}
    yield "enquire", {"property_ids": [7858]}
    newest = max(sandbox.enquiries)
    yield "withdraw_enquiry", {"id": newest}
    yield "enquire", {"property_ids": [7858]}  # the vendor gives the same number again
    sandbox.enquiries[newest]["Comments"] = "Is the barn heated?"
    yield "add_property", {"id": 9001, "name": "New Barn"}
    yield "change_property", {"id": 9001, "fields": {"Title": "A barn by the sea"}}
    yield "suspend", {"id": 9001}
    yield "reinstate", {"id": 9001}
    yield "withdraw", {"id": 9001}
    yield "remove_property", {"id": 9001}
    yield "add_property", {"id": 9001, "name": "New Barn"}
    yield from _of_all()


def carbontrack(sandbox: CarbontrackSandbox) -> Iterator[Step]:
    one, other, gone, *_ = sorted(sandbox.devices)
    yield "add_distributor", {"id": "00000000-0000-0000-0000-00000000d0d0"}
    yield "add_device", {}
    yield "change_device", {"id": one, "fields": {"DeviceName": "Shed"}}
    yield "switch", {"id": one}
    yield "silence", {"id": other}
    yield "wake", {"id": other}
    yield "upload", {"id": one, "minutes_late": 5}
    yield "deregister", {"id": other}
    yield "register", {"id": other}
    was = dict(sandbox.devices[gone].shown)
    yield "remove_device", {"id": gone}
    yield "add_device", {"fields": was}
    yield "add_customer", {}
    customer = dict(list(sandbox.customers.values())[-1])
    yield "change_customer", {"id": customer["CustomerId"], "fields": {"Mobile": "0400000000"}}
    yield "remove_customer", {"id": customer["CustomerId"]}
    yield "add_customer", {"fields": customer}
    yield "silence_all", {}
    yield "wake_all", {}
    yield from _of_all()


def powerpro(sandbox: PowerProSandbox) -> Iterator[Step]:
    yield "add_course", {"fields": {"id": 900}}
    yield "change_course", {"id": 900, "fields": {"capacity": 30}}
    yield "touch", {"kind": "courses", "id": 900}
    yield "add_student", {"fields": {"id": 901}}
    yield "change_student", {"id": 901, "fields": {"suburb": "Sampleton"}}
    for id_ in (902, 903):
        yield "enrol", {"student_id": 901, "course_id": 900, "fields": {"id": id_}}
    unit = sandbox.enrolments[902]["units"][0]["subject_identifier"]
    yield "outcome", {"id": 902, "subject_identifier": unit, "outcome_national": "30"}
    yield "change_enrolment", {"id": 902, "fields": {"study_reason": "11"}}
    yield "complete", {"id": 902}
    yield "withdraw", {"id": 903}
    yield "cancel_course", {"id": 900}
    again = {"courses": dict(sandbox.courses[900]), "students": dict(sandbox.students[901])}
    enrolment = dict(sandbox.enrolments[903])
    for kind, id_ in (("enrolments", 903), ("students", 901), ("courses", 900)):
        yield "remove", {"kind": kind, "id": id_}
    yield "add_course", {"fields": again["courses"]}
    yield "add_student", {"fields": again["students"]}
    yield "enrol", {"student_id": 901, "course_id": 900, "fields": enrolment}
    yield "forbid", {"kind": "students"}
    yield "allow", {"kind": "students"}
    yield "refuse_refresh", {}
    yield "expire_tokens", {}
    yield "allow_refresh", {}
    yield from _of_all()


def _of_all() -> Iterator[Step]:
    """What every vendor can do."""
    yield "fail", {"status": 503, "times": 3}
    yield "heal", {}
    yield "expire_tokens", {}
    yield "revoke", {}
    yield "grant", {}
    yield "reset", {}


SCRIPTS: Mapping[str, Callable[[Any], Iterator[Step]]] = {
    "octorate": octorate,
    "ipro": ipro,
    "carbontrack": carbontrack,
    "powerpro": powerpro,
}
