"""What is published is what the structs say, the official tools take it, and every example is a real event that fits it."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.configfile import VENDORS
from agent.schemata import event_types
from connectors.base import Connector
from schemas import changes
from schemas.records import Record
from tests.agent.test_schemata import FORMATS
from tests.contract import catalogue, producing, publish, tools
from tests.contract.publish import PUBLISHED
from tests.papers import ROOT

SINCE_3_0_IS_MEANT = "asyncapi-latest-version"  # the parser knows 3.1 too, and says so

# Events that no control of a fake vendor can bring about, with the reason.
NEVER = {
    ("octorate", f"property.{change}"): "its two properties are fixed" for change in ("created", "deleted", "restored")
}


def documents() -> dict[str, Any]:
    """The published schemas by name, as they are checked in."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(PUBLISHED.glob("*.json"))}


PUBLISHED_NOW = documents()
EXAMPLES = PUBLISHED_NOW.pop("examples")
ASYNCAPI = PUBLISHED_NOW["asyncapi"]
SCHEMAS = {name: each for name, each in PUBLISHED_NOW.items() if name != "asyncapi"}


def test_what_is_published_is_what_the_structs_say() -> None:
    made = publish.files(publish.documents())
    kept = {*PUBLISHED.glob("*.json"), publish.CATALOGUE} - {publish.EXAMPLES}
    stale = [file for file in kept | made.keys() if not file.is_file() or made.get(file) != file.read_bytes()]
    assert stale == [], f"bring {[file.name for file in sorted(stale)]} up to date: {publish.MENDS}"


def test_the_examples_are_events_that_the_fake_vendors_bring_about_now() -> None:
    assert publish.EXAMPLES.read_bytes() == publish.pretty(producing.chosen()), f"mend it: {publish.MENDS}"


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one_and_has_a_name_of_its_own(name: str) -> None:
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert re.fullmatch(rf"urn:vendorwire:(event:)?{re.escape(name)}(:\d+)?", schema["$id"])


def test_every_record_and_every_event_has_a_schema() -> None:
    resources = changes.resources()
    events = {f"{resource}.{change}" for resource in resources for change in changes.changes_of(resource)}
    assert SCHEMAS.keys() == {"event", "events"} | resources | events


def test_every_example_fits_its_schema() -> None:
    assert EXAMPLES.keys() == {name for name in SCHEMAS if "." in name}
    for name, event in EXAMPLES.items():
        assert SCHEMAS[name]["examples"] == [event]
        for schema in (name, "event", "events"):
            validator(SCHEMAS[schema]).validate(event)


def test_every_event_that_the_fake_vendors_can_bring_about_fits_its_schema() -> None:
    checks = {name: validator(each) for name, each in SCHEMAS.items()}
    told = producing.events()
    assert len(told) > 500
    for event in told:
        checks["event"].validate(event)
        checks[event["type"]].validate(event)
        if "record" in event["data"]:
            checks[event["type"].partition(".")[0]].validate(event["data"]["record"])


def test_the_fake_vendors_bring_about_every_event_there_is() -> None:
    offered = {
        (vendor, f"{resource}.{change}")
        for vendor, resources in changes.CATALOGUE.items()
        for resource, verbs in (*resources.items(), ("account", changes.ACCOUNT_CHANGES))
        for change in verbs
    }
    lived = producing.lived()
    assert offered - {(fake.vendor, event["type"]) for fake in lived for event in fake.events} == NEVER.keys()
    assert {
        (fake.vendor, fake.account.connector.name): set(fake.sandbox.controls()) - fake.tried for fake in lived
    } == {(fake.vendor, fake.account.connector.name): set() for fake in lived}


@pytest.mark.parametrize("connector", VENDORS)
def test_a_vendor_tells_what_the_catalogue_says_it_tells(connector: type[Connector]) -> None:
    told = {name: {*each.changes, *(() if each.only else changes.COMMON)} for name, each in connector.resources.items()}
    offered = changes.CATALOGUE[str(connector.__struct_config__.tag)]
    assert told == {name: set(each) for name, each in offered.items()}


def test_every_field_says_what_it_means() -> None:
    silent = [
        f"{name}: {field}"
        for name, schema in SCHEMAS.items()
        for kind in (schema, *schema.get("$defs", {}).values())
        if "before" not in kind.get("properties", {}) and not str(kind.get("title")).endswith(("Changes", "Data"))
        for field, each in kind.get("properties", {}).items()
        if not each.get("description") and field != "data"
    ]
    assert silent == []


def test_a_measurement_says_that_its_unit_is_unknown() -> None:
    numbers = SCHEMAS["measurement.batch"]["$defs"]["Measurement"]["properties"]
    assert {each.get("x-unit") for name, each in numbers.items() if name != "at"} == {"not documented by the vendor"}


def test_the_catalogue_has_a_section_with_an_example_for_every_event() -> None:
    page = publish.CATALOGUE.read_text(encoding="utf-8")
    sections = re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == [each.document for each in event_types(VENDORS)]
    for name, text in sections:
        (shown,) = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert json.loads(shown) == EXAMPLES[name]
        assert SCHEMAS[name]["description"] in text


def test_the_catalogue_names_every_field() -> None:
    page = catalogue.render(PUBLISHED_NOW)
    kinds = {each.record for each in event_types(VENDORS) if each.told is None}
    assert [field for kind in kinds for field in names(kind) if f"| `{field}` |" not in page] == []


def test_the_official_parser_has_nothing_to_say_of_the_asyncapi_document_but_of_a_wrong_one(tmp_path: Path) -> None:
    wrong = json.loads(json.dumps(ASYNCAPI))
    del wrong["channels"]["booking.events"]["parameters"]["change"]
    assert complaints(tmp_path, ours=ASYNCAPI, wrong=wrong) == [("wrong", "channels.booking.events.parameters")]


def test_every_message_of_the_asyncapi_document_has_an_example_and_every_server_a_way_to_sign_in() -> None:
    messages = ASYNCAPI["components"]["messages"]
    # What has been measured is no record that is told of, so that its snapshot has no example.
    assert [name for name, each in messages.items() if "examples" not in each] == ["measurement.snapshot"]
    assert all(server["security"] for server in ASYNCAPI["servers"].values())


def test_what_npm_and_pip_install_for_these_tests_is_locked_and_names_no_place_to_download_from() -> None:
    lock = tools.HERE / "package-lock.json"
    assert "://" not in lock.read_text(encoding="utf-8")
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    assert [name for name, each in packages.items() if name and "integrity" not in each] == []
    entries = (tools.HERE / "requirements.txt").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    assert [each for each in entries if "==" not in each or "--hash=sha256:" not in each or "://" in each] == []


def test_what_the_command_needs_comes_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    taken = project["tool"]["setuptools"]["package-data"]["schemas"]
    assert any(Path("published/examples.json").match(pattern) for pattern in taken)


def validator(schema: Any) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema, format_checker=FORMATS)


def names(kind: type[Record]) -> tuple[str, ...]:
    return kind.__struct_fields__


def complaints(folder: Path, **documents: Any) -> list[tuple[str, str]]:
    """What the parser finds, of whatever weight: in which document, and where."""
    installed = tools.npm()
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    files = [str(folder / f"{name}.json") for name in documents]
    told = tools.ran(["node", str(tools.HERE / "asyncapi.mjs"), str(installed), *files]).splitlines()
    found = [each for each in map(json.loads, told) if each["code"] != SINCE_3_0_IS_MEANT]
    return [(Path(each["file"]).stem, each["path"]) for each in found]
