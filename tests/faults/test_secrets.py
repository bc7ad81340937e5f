"""Every secret is planted as a canary, everything goes wrong, and at DEBUG level none of them is found anywhere.

Vendors and receivers that answer with all they were told, tokens that run out, a bus that is killed, a bug in a connector;
then what was written, served, stored, delivered and printed is searched.
"""

import gc
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import nkeys
import psutil
import pytest
from anyio.from_thread import start_blocking_portal

from agent import log
from agent.configfile import load
from agent.vault import VARIABLE
from connectors.api import Api
from connectors.base import Page, Query
from connectors.octorate import Octorate
from connectors.sandbox import powerpro
from schemas.envelope import CloudEvent, decode
from schemas.facts import Polled
from schemas.settings import Secret
from tests.agent.command import here, started
from tests.agent.harness import Process, Wire, agent, events_on, inside, reading, ready, until, write_config
from tests.faults.canaries import CANARIES, KEY, KEY_BEFORE, all_found, found_below, found_in
from tests.faults.town import Town
from tests.nats import NatsServer, start_nats

PASSWORD, TOKEN = CANARIES["the password of the bus"], CANARIES["the token of the bus"]
USERS = f'authorization {{ user: "agent", password: "{PASSWORD}" }}'
FLOORS = ("agent", "connectors", "events", "schemas")
SEED = nkeys.encode_seed(b"canary-seed-of-an-nkey-32-bytes-", nkeys.PREFIX_BYTE_USER).decode()

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{KEY},{KEY_BEFORE}")
    monkeypatch.delenv("VENDORWIRE_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


async def pages(process: Process) -> dict[str, str]:
    return {path: (await process.get(path))[1] for path in ("/metrics", "/readyz", "/livez", "/nothing")}


def command_lines(process: Process) -> str:
    """What `ps` shows of an agent and its children."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return "\n".join(" ".join(each.cmdline()) for each in family)


async def all_were_read(process: Process) -> None:
    async def read() -> bool:
        assert process.ended is None, process.log
        lines = (await process.get("/metrics"))[1].splitlines()
        told = [line for line in lines if line.startswith("vendorwire_poll_last_success_timestamp_seconds{")]
        return bool(told) and not any(line.endswith(" 0.0") for line in told)

    await until(read, 60)


async def calm(town: Town, file: Path) -> dict[str, str]:
    """An agent for which all goes well, but for one receiver."""
    async with agent(file, "calm.log", "--log-level", "debug") as process:
        await ready(process)
        await all_were_read(process)
        town.change()
        await until(
            lambda: town.ears.blabbed.total() >= 8 and any(is_of_oct(decode(body)) for body in town.ears.bodies)
        )
        said = {f"calm {path}": body for path, body in (await pages(process)).items()}
        said["ps"] = command_lines(process)
        assert (await process.end())[0] == 0
        return said | {"the log": process.log}


async def storm(town: Town, nats: NatsServer, file: Path) -> dict[str, str]:
    """An agent to whom every vendor answers with what it was told, whose tokens are refused, and whose bus is killed."""
    async with agent(file, "storm.log", "--log-level", "debug", "--json") as process:
        await ready(process)
        town.blab()
        await until(town.has_blabbed, 60)
        nats.restart()
        await until(process.is_ready)
        said = {f"stormy {path}": body for path, body in (await pages(process)).items()}
        assert (await process.end())[0] == 0
        assert "Traceback" not in process.log
        return said | {"the log in a storm": process.log}


ACCOUNTS = ("oct", "ipro", "ct", "ct-header", "pp", "pp-user")


def printed_in_calm(file: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What is new at each vendor, whole, and what is followed."""
    said = {f"new at {name}": ran(file, capsys, "--json", "poll", name, "--dry-run") for name in ACCOUNTS}
    with started(
        "watch", "--config", str(file), "--log-level", "debug", "--json", "--since", "1h", cwd=file.parent
    ) as watch:
        watch.until(lambda text: text.count("\n") >= 4)
        ended = watch.end()
    return said | {"watch": ended.out + ended.err}


def printed(file: Path, event: CloudEvent, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What the other commands print, for people and for programs, while vendors fail."""
    words = [
        *(["routes"], ["dead", "list"], ["explain", event.id], ["deletes", "list"], ["check"], ["check", "--offline"]),
        *(["snapshot", "oct", "booking"], ["snapshot", "oct", "booking", event.subject], ["snapshot", "pp", "student"]),
        *(["dead", "show", event.id], ["replay", "well", "--since", "1h", "--dry-run"], ["schema"], ["resume", "sick"]),
        *(["poll", account, "--dry-run"] for account in ACCOUNTS),
        *(
            ["authorize", "oct", "--code", CANARIES["the code of a consent"]],
            ["poll", "oct"],
            ["dead", "replay", event.id],
        ),
        *(
            ["dead", "drop", "--route", "sick", "--yes"],
            ["replay", "well", "--since", "1h"],
            ["authorize", "oct", "--forget"],
        ),
    ]
    return {
        " ".join([*options, *each]): ran(file, capsys, *options, *each)
        for each, options in itertools.product(words, ([], ["--json"]))
    }


def ran(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    ended = here(capsys, "--config", str(file), "--log-level", "debug", *words)
    return f"exit status {ended.status}\n{ended.out}\n{ended.err}"


def is_of_oct(event: CloudEvent) -> bool:
    return event.account == "oct" and event.type.startswith("booking.")


async def an_event(nats: NatsServer) -> CloudEvent:
    async with reading(nats.url, user="agent", password=Secret(PASSWORD)) as bus:
        return next(each for each in await events_on(bus) if is_of_oct(each))


def test_no_secret_is_found_in_what_agents_and_commands_write_serve_store_send_or_print(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measured: Callable[[str, str, str], None]
) -> None:
    town = Town()
    bus = {"user": "agent", "password": PASSWORD}
    with (
        start_nats(tmp_path / "nats", config_extra=USERS) as nats,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(town.configured(tmp_path, {"url": nats.url, **bus})) as file,
    ):
        places = portal.call(calm, town, file)
        town.change()
        places |= printed_in_calm(file, capsys)
        places |= portal.call(storm, town, nats, file)
        places |= printed(file, portal.call(an_event, nats), capsys)
    places["deliveries"] = b"\n".join(town.ears.bodies).decode()
    assert [place for place, content in places.items() if not content] == []
    assert all_found(places) + found_below(tmp_path / "nats" / "jetstream") == []
    size = sum(len(content) for content in places.values()) // 1024
    caused = f"{len(CANARIES)} canaries, four vendors that answer with all they are told, DEBUG"
    measured(
        "secrets stay secret", caused, f"0 found in {len(places)} outputs of {size} kB, nor in what JetStream stored"
    )


async def test_a_bug_shows_no_secret_in_its_traceback_nor_does_anything_alive_in_its_repr(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    measured: Callable[[str, str, str], None],
) -> None:
    async def read(self: Octorate, api: Api, query: Query) -> AsyncIterator[Page]:
        token = await api._credentials.token()
        revealed = (self.client_secret.reveal(), self.refresh_token and self.refresh_token.reveal(), token.access)
        raise RuntimeError(f"a bug: {revealed} {token} {self} {vars(api)}")
        yield

    log.setup("debug", json=False)
    of_other_tests = list(ours())  # kept, so that nothing of this one takes the place of one of them
    known = {id(each) for each in of_other_tests}
    town = Town()
    with start_nats(tmp_path / "nats", config_extra=USERS) as nats:
        bus = {"url": nats.url, "user": "agent", "password": PASSWORD}
        async with town.configured(tmp_path, bus) as file:
            config = load(file)
            async with inside(msgspec.structs.replace(config, accounts=config.accounts[:2])) as agent:
                monkeypatch.setattr(Octorate, "read", read)
                await until(lambda: any("unforeseen" in fact.detail for fact in agent.told(Polled)))
                alive = [each for each in ours() if id(each) not in known]
                shown = {f"{type(each).__name__} {number}": repr(each) for number, each in enumerate(alive)}
                facts = "\n".join(map(repr, agent.facts))
    written = capsys.readouterr().err
    assert "RuntimeError: a bug: ('***', '***', '***')" in written
    assert {"Config", "Secret", "App", "TokenKeeper", "Octorate", "Webhook"} <= {type(each).__name__ for each in alive}
    assert all_found({"the log": written, "facts": facts, **shown}) == []
    measured(
        "secrets stay secret",
        "a bug in a connector that quotes its secrets",
        f"0 found in its traceback and in {len(shown)} reprs",
    )


def ours() -> Iterator[object]:
    """What is alive of the product; not of the fake vendors, which are in this process too."""
    for each in gc.get_objects():
        module = str(type(each).__module__)
        if module.partition(".")[0] in FLOORS and not module.startswith("connectors.sandbox"):
            yield each


@pytest.mark.parametrize(
    ("sign_in", "status"),
    [
        ({"token": TOKEN}, 0),
        ({"token": f"{TOKEN}-of-another"}, 1),
        ({"user": "agent", "password": PASSWORD}, 1),
        ({"nkey": SEED}, 1),
    ],
)
def test_what_the_bus_refuses_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sign_in: Wire, status: int
) -> None:
    with start_nats(tmp_path / "nats", config_extra=f'authorization {{ token: "{TOKEN}" }}') as nats:
        account = {"vendor": "powerpro", "name": "pp", "base_url": "http://127.0.0.1:9", "api_key": powerpro.API_KEY}
        file = write_config(tmp_path, bus={"url": nats.url, **sign_in}, accounts=[account])
        said = ran(file, capsys, "deletes", "list")
    assert said.startswith(f"exit status {status}")
    assert found_in("a command", said) == []
    assert SEED not in said


async def test_the_password_of_the_embedded_server_is_on_no_command_line(tmp_path: Path) -> None:
    account = {"vendor": "powerpro", "name": "pp", "base_url": "http://127.0.0.1:9", "api_key": powerpro.API_KEY}
    file = write_config(tmp_path, bus={"data": str(tmp_path / "data")}, accounts=[account])
    async with agent(file) as process:
        await ready(process)
        password = json.loads((tmp_path / "data" / "server.json").read_bytes())["password"]
        lines = command_lines(process)
    assert "nats-server" in lines
    assert password not in lines
