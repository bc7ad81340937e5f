"""airbyte-cdk: a source as its documentation advises, a declarative manifest run by the entrypoint; what changed by key and
hash in SQLite.

The records are taken from the lines the source prints, which is all that a destination sees of it, and decoded as the
framework's own destinations do. Both share a process here, and the lines between them stay in memory.
"""

import logging
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.models import AirbyteMessageSerializer, ConfiguredAirbyteCatalogSerializer
from airbyte_cdk.sources.declarative.concurrent_declarative_source import ConcurrentDeclarativeSource

from benchmarks.peers.known import Known, arguments, asked


def manifest(vendor: str, page: int) -> dict[str, Any]:
    """One stream of bookings, page by page."""
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {}}
    requester = {
        "type": "HttpRequester",
        "url_base": f"{vendor}/apis/",
        "path": "bookings",
        "http_method": "GET",
        "request_parameters": {"bookingstatus": "3"},
        "authenticator": {"type": "BearerAuthenticator", "api_token": "benchmark"},
    }
    paginator = {
        "type": "DefaultPaginator",
        "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "index"},
        "page_size_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "size"},
        "pagination_strategy": {
            "type": "PageIncrement",
            "page_size": page,
            "start_from_page": 1,
            "inject_on_first_request": True,
        },
    }
    retriever = {
        "type": "SimpleRetriever",
        "requester": requester,
        "record_selector": {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["Items"]}},
        "paginator": paginator,
    }
    return {
        "version": "7.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["bookings"]},
        "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": {}}},
        "streams": [
            {
                "type": "DeclarativeStream",
                "name": "bookings",
                "primary_key": "BookingId",
                "schema_loader": {"type": "InlineSchemaLoader", "schema": schema},
                "retriever": retriever,
            }
        ],
    }


def configured() -> dict[str, Any]:
    """The catalogue that asks for all bookings."""
    stream = {"name": "bookings", "json_schema": {}, "supported_sync_modes": ["full_refresh"]}
    return {
        "streams": [{"stream": stream, "sync_mode": "full_refresh", "destination_sync_mode": "overwrite"}],
    }


def _file(folder: Path, name: str, content: dict[str, Any]) -> str:
    path = folder / name
    path.write_bytes(orjson.dumps(content))
    return str(path)


def main() -> None:
    told = arguments()
    logging.disable(logging.WARNING)
    known, catalog = Known(told.folder), configured()
    files = ["--config", _file(told.folder, "config.json", {})]
    files += ["--catalog", _file(told.folder, "catalog.json", catalog)]

    def records() -> Iterator[tuple[int, bytes]]:
        """One run of the connector: a source is made for one run."""
        source = ConcurrentDeclarativeSource(
            ConfiguredAirbyteCatalogSerializer.load(catalog), {}, [], source_config=manifest(told.vendor, told.page)
        )
        entrypoint = AirbyteEntrypoint(source)
        for line in entrypoint.run(entrypoint.parse_args(["read", *files])):
            message = AirbyteMessageSerializer.load(orjson.loads(line))
            if message.record is not None:
                data = message.record.data
                yield data["BookingId"], sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).digest()

    asked(lambda: known.changed(records()))


if __name__ == "__main__":
    main()
