"""The AsyncAPI 3.0 document: which subjects there are, what is on them, and the webhook. https://www.asyncapi.com

The one who sends is Vendorwire; a subscriber reads the document the other way round.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from events.jetstream.ledger import DELETED, DIGEST, KEY, VERSION
from events.jetstream.ledger import SCHEMA as SCHEMA_VERSION
from events.subjects import Names
from schemas.changes import Scope
from schemas.envelope import CONTENT_TYPE

Node = dict[str, Any]

SCHEMA = "#/components/schemas/{name}"
_TEXT = {"type": "string"}
_ABOUT = """\
Vendorwire publishes what changes at vendors that have no event feed: one CloudEvent per change on NATS JetStream, and
the last known state of each record. Routes deliver the same events as signed webhooks. The first word of every subject
is `bus.prefix`, `vendorwire` unless configured otherwise; the stream is named like it, in capitals."""
_WEBHOOK = """\
A route's deliveries: at least once, in order per record. The body is the event (`format: cloudevents`), or
`{type, timestamp, data}` of it (`format: standard`). 2xx is done; 410 stops the route; anything else is tried again."""


def document(
    version: str,
    vendors: Mapping[str, Sequence[str]],
    changes: Mapping[str, Sequence[str]],
    records: Mapping[str, str],
    schemas: Mapping[str, Node],
) -> Node:
    """The document of these vendors (vendor → resources), changes and records (resource → schema's name).

    `schemas` holds the records and, by its type's name, each event.
    """
    types = [f"{resource}.{change}" for resource in changes for change in changes[resource]]
    channels: Node = {}
    for resource, record in records.items():
        owners = [vendor for vendor, own in vendors.items() if resource in {"account", *own}]
        channels[f"{resource}.events"] = _events(resource, owners, changes[resource])
        channels[f"{resource}.snapshots"] = _snapshots(resource, owners, record)
    channels["webhook"] = {"address": None, "description": _WEBHOOK, "messages": {"webhook": _message("webhook")}}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:vendorwire",
        "info": {
            "title": "Vendorwire",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {name: _operation(name) for name in channels},
        "components": {
            "messages": {
                **{name: _event(name) for name in types},
                **{f"{resource}.snapshot": _snapshot(resource, record) for resource, record in records.items()},
                "webhook": _webhook(types),
            },
            "schemas": dict(schemas),
        },
    }


def _events(resource: str, vendors: Sequence[str], changes: Sequence[str]) -> Node:
    subject = Names().event(Scope("{vendor}", "{account}", resource), "{change}")
    return {
        "address": subject,
        "description": f"What happens to each {resource}.",
        "parameters": {**_parameters(vendors), "change": {"description": "What happened.", "enum": list(changes)}},
        "messages": {f"{resource}.{change}": _message(f"{resource}.{change}") for change in changes},
    }


def _snapshots(resource: str, vendors: Sequence[str], record: str) -> Node:
    subject = Names().snapshots(Scope("{vendor}", "{account}", resource)).removesuffix("*") + "{key}"
    key = "The record's id, every byte outside `A-Z a-z 0-9 -` percent-encoded. `_head` is not a record: it tells of polls."
    return {
        "address": subject,
        "description": f"The last known state of each {resource} ({record}): one message per subject.",
        "parameters": {**_parameters(vendors), "key": {"description": key}},
        "messages": {f"{resource}.snapshot": _message(f"{resource}.snapshot")},
    }


def _parameters(vendors: Sequence[str]) -> Node:
    return {
        "vendor": {"description": "Whose account it is.", "enum": list(vendors)},
        "account": {"description": "The account's name, as configured."},
    }


def _operation(channel: str) -> Node:
    operation: Node = {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}}
    if channel == "webhook":
        operation["bindings"] = {"http": {"method": "POST", "bindingVersion": "0.3.0"}}
    return operation


def _message(name: str) -> Node:
    return {"$ref": f"#/components/messages/{name}"}


def _event(name: str) -> Node:
    return {
        "name": name,
        "contentType": CONTENT_TYPE,
        "headers": _headers({KEY: "The last word of the record's snapshot subject."}, required=[KEY]),
        "payload": {"$ref": SCHEMA.format(name=name)},
    }


def _snapshot(resource: str, record: str) -> Node:
    headers = {
        VERSION: "Counts the record's changes from 1: the event with the same version tells of the last.",
        SCHEMA_VERSION: "The version of the record's shape.",
        DIGEST: "Equal for equal states.",
        DELETED: "Only where the record is gone: then the message is empty.",
    }
    return {
        "name": f"{resource}.snapshot",
        "contentType": "application/json",
        "headers": _headers(headers, required=[VERSION, SCHEMA_VERSION]),
        "payload": {"$ref": SCHEMA.format(name=record)},
    }


def _webhook(types: Sequence[str]) -> Node:
    headers = {
        "webhook-id": "The event's id, the same at each attempt.",
        "webhook-timestamp": "The time of this attempt in Unix seconds.",
        "webhook-signature": "Over `id.timestamp.body`, one per secret, by spaces: `v1,` HMAC-SHA256, `v1a,` ed25519; base64.",
        "vendorwire-attempt": "Counts the attempts from 1.",
    }
    return {
        "name": "webhook",
        "title": "A signed event (https://www.standardwebhooks.com)",
        "contentType": CONTENT_TYPE,
        "headers": _headers(headers, required=list(headers)),
        "payload": {"oneOf": [{"$ref": SCHEMA.format(name=name)} for name in types]},
    }


def _headers(described: Mapping[str, str], required: Sequence[str]) -> Node:
    properties = {name: {**_TEXT, "description": text} for name, text in described.items()}
    return {"type": "object", "properties": properties, "required": list(required)}
