"""The OpenAPI document of the console's API, made from the table of its endpoints and the structs they speak in."""

import re
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from agent.console import questions, shapes
from agent.console.door import COOKIE, CSRF
from agent.console.endpoints import ENDPOINTS, Endpoint

_REF = "#/components/schemas/{name}"
_PATH = re.compile(r"\{(\w+)\}")


@cache
def document() -> bytes:
    """As it is served."""
    return msgspec.json.format(msgspec.json.encode(_document()), indent=2)


def _document() -> dict[str, Any]:
    types = [kind for each in ENDPOINTS for kind in (each.answer, each.body) if kind is not None]
    unique = list(dict.fromkeys([*types, shapes.UnderWay, shapes.Error, shapes.EventView, shapes.Overview]))
    _, components = msgspec.json.schema_components(unique, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for each in ENDPOINTS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vendorwire console",
            "version": version("vendorwire"),
            "summary": "What the console's page is made from: any agent answers for all of them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The admin token, http.admin_token."},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "csrf": {"type": "apiKey", "in": "header", "name": CSRF},
            },
        },
    }


def _operation(each: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.about,
        "parameters": [*_in_path(each), *_in_query(each)],
        "responses": {**_success(each), **_failures(each)},
    }
    if each.body is not None:
        required = each.body is not questions.Nothing
        content = {"application/json": {"schema": {"$ref": _REF.format(name=each.body.__name__)}}}
        operation["requestBody"] = {"required": required, "content": content}
    if each.kind == "read":  # nothing is needed on the machine itself
        operation["security"] = [{}, {"token": []}, {"session": []}]
    elif each.kind == "act":
        operation["security"] = [{"token": []}, {"session": [], "csrf": []}]
    return operation


def _in_path(each: Endpoint) -> Iterator[dict[str, Any]]:
    for name in _PATH.findall(each.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _in_query(each: Endpoint) -> Iterator[dict[str, Any]]:
    if each.query is None:
        return
    schema = msgspec.json.schema(each.query)
    properties = schema["$defs"][each.query.__name__]["properties"]
    needed = {field.encode_name for field in msgspec.structs.fields(each.query) if field.required}
    for name, of in properties.items():
        yield {"name": name, "in": "query", "required": name in needed, "schema": of}


def _success(each: Endpoint) -> dict[str, Any]:
    if each.stream:
        about = "`event: change` with an EventView, `event: overview` with an Overview; comments while nothing comes."
        return {"200": {"description": about, "content": {"text/event-stream": {"schema": {"type": "string"}}}}}
    if each.answer is None and each.method == "GET":
        content = {"application/json": {"schema": {"type": "object"}}}
        return {"200": {"description": "The document.", "content": content}}
    if each.answer is None:
        return {"204": {"description": "Done."}}
    content = {"application/json": {"schema": {"$ref": _REF.format(name=each.answer.__name__)}}}
    answers = {"200": {"description": "The answer.", "content": content}}
    if each.kind == "act":
        later = {"application/json": {"schema": {"$ref": _REF.format(name="UnderWay")}}}
        answers["202"] = {"description": "It goes on: the audit will tell how it ended.", "content": later}
    return answers


def _failures(each: Endpoint) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}}
    statuses = {400, 503, *each.errors}
    if each.kind != "open" or each.name == "sign_in":
        statuses |= {401, 403, 429}
    if each.body is not None:
        statuses |= {413, 415}
    return {str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in sorted(statuses)}
