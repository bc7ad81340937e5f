"""The API as its document describes it: tried with made-up requests of every kind against a running agent."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from agent.console import openapi
from agent.console.endpoints import ENDPOINTS
from connectors.sandbox.serve import serve
from tests.agent.harness import agent, hotel, octorate, ready, receiving, synced, webhook, write_config
from tests.console.looking import looking
from tests.console.scene import TOKEN
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

EXAMPLES = 6  # of each operation and of each mode
DOCUMENT = json.loads(openapi.document())


async def test_made_up_requests_of_every_kind_get_the_answers_that_are_described(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with serve(hotel()) as url, receiving() as receiver:
        config = write_config(
            tmp_path,
            bus={"url": nats.url},
            accounts=[octorate("hotel", url, every={"booking": "1h", "property": "1h"})],
            routes=[webhook("crm", receiver.url)],
            http={"listen": "127.0.0.1:0", "admin_token": TOKEN},
        )
        async with agent(config) as process:
            await ready(process)
            await synced(process)
            base = f"http://{await process.address()}"
            async with looking(base) as looker:
                assert await looker.get("/openapi.json") == DOCUMENT
            tried = await anyio.to_thread.run_sync(try_all, base)
            assert tried == {each.name for each in ENDPOINTS if not each.stream}
            assert process.ended is None
            assert "unforeseen" not in process.log


def try_all(base: str) -> set[str]:
    """Each operation with requests that fit its description and with some that do not."""
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=base)
    tried = set()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        name = operation.definition.raw["operationId"]
        if name != "live":  # it has no end
            try_one(operation, GenerationMode.POSITIVE)
            with suppress(Unsatisfiable):  # where nothing is asked with, nothing can be wrong
                try_one(operation, GenerationMode.NEGATIVE)
            tried.add(name)
    return tried


def try_one(operation: Any, mode: GenerationMode) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    def attempt(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)

    attempt()


def test_the_document_describes_every_endpoint_with_its_answers_and_its_refusals() -> None:
    assert {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods} == {
        (each.method.lower(), each.path) for each in ENDPOINTS
    }
    for operation in operations():
        assert operation["summary"].endswith(".")
        assert {"400", "503"} <= operation["responses"].keys()
    for each in ENDPOINTS:
        operation = DOCUMENT["paths"][each.path][each.method.lower()]
        assert ("security" in operation) == (each.kind != "open")
        if each.kind == "act":
            assert {} not in operation["security"]


def test_the_schemas_in_the_document_are_valid_and_none_is_missing() -> None:
    text = json.dumps(DOCUMENT)
    schemas = DOCUMENT["components"]["schemas"]
    for name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        assert f'"#/components/schemas/{name}"' in text or name in {"EventView", "Overview"}
    wanted = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted <= schemas.keys()


def operations() -> Iterator[dict[str, Any]]:
    for methods in DOCUMENT["paths"].values():
        yield from methods.values()
