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
NUMBERED = "x-urn"  # of a record: its resource and the number of its shape
UNTIL = "x-served-until"  # of a former shape: the day until which its schema stays
_TEXT = {"type": "string"}
_JSON = "application/json"
_ABOUT = """\
Vendorwire publishes what changes at vendors that have no event feed: one CloudEvent per change on NATS JetStream, and
the last known state of each record. Routes deliver the same events as signed webhooks. The first word of every subject
is `bus.prefix`, `vendorwire` unless configured otherwise; the stream is named like it, in capitals."""
_WEBHOOK = """\
A route's deliveries: at least once, in order per record. The body is the event (`format: cloudevents`), or
`{type, timestamp, data}` of it (`format: standard`). 2xx is done; 410 stops the route; anything else is tried again,
for about three days."""
_SUBJECT = """\
A route with a `subject` publishes its events there, on core NATS: what nobody hears is gone, unless a stream of yours is
laid over it."""
_SIGNATURE = """\
Not a secret that is sent, but a signature that you check: https://www.standardwebhooks.com, HMAC-SHA256 (`v1,`) or
ed25519 (`v1a,`) over `id.timestamp.body`."""


def document(
    version: str,
    vendors: Mapping[str, Sequence[str]],
    told: Mapping[str, Sequence[str]],
    records: Mapping[str, str],
    schemas: Mapping[str, Node],
    examples: Mapping[str, Any],
) -> Node:
    """The document of these vendors (vendor → resources), messages (resource → documents) and records (→ schema's name).

    `schemas` holds the records and, by its document's name, each event; `examples` an event by its type.
    """
    names = [name for each in told.values() for name in each]
    channels: Node = {}
    for resource, record in records.items():
        owners = [vendor for vendor, own in vendors.items() if resource in {"account", *own}]
        channels[f"{resource}.events"] = _events(resource, owners, told[resource])
        channels[f"{resource}.snapshots"] = _snapshots(resource, owners, record)
    channels["webhook"] = _open(_WEBHOOK, "receiver", "webhook", "webhook.standard")
    channels["subject"] = _open(_SUBJECT, "bus", "republished")
    return {
        "asyncapi": "3.0.0",
        "id": "urn:vendorwire",
        "info": {
            "title": "Vendorwire",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": _servers(),
        "channels": channels,
        "operations": {name: _operation(name) for name in channels},
        "components": {
            "securitySchemes": _security_schemes(),
            "messages": {
                **{name: _event(name, examples.get(name)) for name in names},
                **{
                    f"{resource}.snapshot": _snapshot(resource, record, _example(resource, examples))
                    for resource, record in records.items()
                },
                **_delivered(names, examples),
            },
            "schemas": dict(schemas),
        },
    }


def _servers() -> Node:
    return {
        "bus": {
            "host": "{host}",
            "protocol": "nats",
            "description": "The NATS server with the ledger. Sign in one way, whichever its operator has given you.",
            "variables": {"host": {"description": "Host and port.", "default": "127.0.0.1:4222"}},
            "security": [
                _ref("securitySchemes", name) for name in ("user", "credentials", "nkey", "token", "certificate")
            ],
        },
        "receiver": {
            "host": "{host}",
            "protocol": "https",
            "description": "Your own endpoint: a route's `url`.",
            "variables": {"host": {"description": "Host and port.", "default": "crm.example.com"}},
            "security": [_ref("securitySchemes", "signature")],
        },
    }


def _security_schemes() -> Node:
    return {
        "user": {"type": "userPassword", "description": "A NATS user and its password."},
        "credentials": {
            "type": "asymmetricEncryption",
            "description": "A NATS creds file: a JWT and the seed that signs.",
        },
        "nkey": {"type": "asymmetricEncryption", "description": "A NATS nkey: the seed signs the server's challenge."},
        "token": {"type": "apiKey", "in": "password", "description": "A NATS token."},
        "certificate": {"type": "X509", "description": "A client certificate, where the server asks for one."},
        "signature": {"type": "httpApiKey", "in": "header", "name": "webhook-signature", "description": _SIGNATURE},
    }


def _events(resource: str, vendors: Sequence[str], names: Sequence[str]) -> Node:
    subject = Names().event(Scope("{vendor}", "{account}", resource), "{change}")
    changes = list(dict.fromkeys(name.split(".")[1] for name in names))
    return {
        "address": subject,
        "description": f"What happens to each {resource}.",
        "servers": [{"$ref": "#/servers/bus"}],
        "parameters": {**_parameters(vendors), "change": {"description": "What happened.", "enum": changes}},
        "messages": {name: _ref("messages", name) for name in names},
    }


def _snapshots(resource: str, vendors: Sequence[str], record: str) -> Node:
    subject = Names().snapshots(Scope("{vendor}", "{account}", resource)).removesuffix("*") + "{key}"
    key = "The record's id, every byte outside `A-Z a-z 0-9 -` percent-encoded. `_head` is not a record: it tells of polls."
    return {
        "address": subject,
        "description": f"The last known state of each {resource} ({record}): one message per subject.",
        "servers": [{"$ref": "#/servers/bus"}],
        "parameters": {**_parameters(vendors), "key": {"description": key}},
        "messages": {f"{resource}.snapshot": _ref("messages", f"{resource}.snapshot")},
    }


def _open(about: str, server: str, *messages: str) -> Node:
    """A channel whose address is the subscriber's own."""
    return {
        "address": None,
        "description": about,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {name: _ref("messages", name) for name in messages},
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


def _ref(kind: str, name: str) -> Node:
    return {"$ref": f"#/components/{kind}/{name}"}


def _event(name: str, example: Any) -> Node:
    headers = {
        "Content-Type": CONTENT_TYPE,
        KEY: "The last word of the record's snapshot subject.",
        "Nats-TTL": "How long the event is kept, in seconds: `bus.keep_events`.",
    }
    return {
        "name": name,
        "contentType": CONTENT_TYPE,
        "headers": _headers(headers, required=list(headers)),
        "payload": {"$ref": SCHEMA.format(name=name)},
        **_shown(
            name, {"Content-Type": CONTENT_TYPE, KEY: example and example["subject"], "Nats-TTL": "2592000"}, example
        ),
    }


def _snapshot(resource: str, record: str, example: Any) -> Node:
    headers = {
        VERSION: "Counts the record's changes from 1: the event with the same version tells of the last.",
        SCHEMA_VERSION: "Counts the releases that changed the record's shape, also those that only added fields.",
        DIGEST: "Equal for equal states.",
        DELETED: "Only where the record is gone: then the message is empty.",
    }
    given = {VERSION: "1", SCHEMA_VERSION: "1", DIGEST: "f9267022e4882e80"}
    return {
        "name": f"{resource}.snapshot",
        "contentType": _JSON,
        "headers": _headers(headers, required=[VERSION, SCHEMA_VERSION]),
        "payload": {"$ref": SCHEMA.format(name=record)},
        **_shown(f"{resource}.snapshot", given, example),
    }


def _delivered(names: Sequence[str], examples: Mapping[str, Any]) -> Node:
    """What leaves by a route: a webhook in either format, and what is published to another subject."""
    headers = {
        "webhook-id": "The event's id, the same at each attempt.",
        "webhook-timestamp": "The time of this attempt in Unix seconds.",
        "webhook-signature": "Over `id.timestamp.body`, one per secret, by spaces: `v1,` HMAC-SHA256, `v1a,` ed25519; base64.",
        "content-type": "`application/cloudevents+json`, or `application/json` with `format: standard`.",
        "user-agent": "`vendorwire/<version>`",
        "vendorwire-attempt": "Counts the attempts from 1.",
    }
    any_event = {"oneOf": [{"$ref": SCHEMA.format(name=name)} for name in names]}
    webhook = {"headers": _headers(headers, required=list(headers))}
    example = examples.get("booking.confirmed")
    given = {
        "webhook-id": example and example["id"],
        "webhook-timestamp": "1780000000",
        "webhook-signature": "v1,bV8Gei3JWOiJHc2Hq7Foc1+U5Z4fZ0jOqQWzK5lUsdM=",
        "user-agent": "vendorwire/0.1.0",
        "vendorwire-attempt": "1",
    }
    standard = example and {"type": example["type"], "timestamp": example["time"], "data": example["data"]}
    again = {
        "Nats-Msg-Id": "The event's id.",
        "Content-Type": CONTENT_TYPE,
        "Vendorwire-Attempt": "Counts the attempts from 1.",
    }
    published = {"Nats-Msg-Id": example and example["id"], "Content-Type": CONTENT_TYPE, "Vendorwire-Attempt": "1"}
    return {
        "webhook": {
            "name": "webhook",
            "title": "A signed event (https://www.standardwebhooks.com)",
            "contentType": CONTENT_TYPE,
            **webhook,
            "payload": any_event,
            **_shown("webhook", {**given, "content-type": CONTENT_TYPE}, example),
        },
        "webhook.standard": {
            "name": "webhook.standard",
            "title": "A signed event with `format: standard`",
            "contentType": _JSON,
            **webhook,
            "payload": _standard(),
            **_shown("webhook.standard", {**given, "content-type": _JSON}, standard),
        },
        "republished": {
            "name": "republished",
            "contentType": CONTENT_TYPE,
            "headers": _headers(again, required=list(again)),
            "payload": any_event,
            **_shown("republished", published, example),
        },
    }


def _standard() -> Node:
    properties = {
        "type": {**_TEXT, "description": "The event's `type`."},
        "timestamp": {**_TEXT, "format": "date-time", "description": "The event's `time`."},
        "data": {"type": "object", "description": "The event's `data`."},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _example(resource: str, examples: Mapping[str, Any]) -> Any:
    """A record of it."""
    found = (each["data"].get("record") for type_, each in examples.items() if type_.startswith(f"{resource}."))
    return next((record for record in found if record is not None), None)


def _shown(name: str, headers: Node, payload: Any) -> Node:
    """An example, where there is one."""
    return {} if payload is None else {"examples": [{"name": name, "headers": headers, "payload": payload}]}


def _headers(described: Mapping[str, str], required: Sequence[str]) -> Node:
    properties = {name: {**_TEXT, "description": text} for name, text in described.items()}
    return {"type": "object", "properties": properties, "required": list(required)}
