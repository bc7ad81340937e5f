"""A right is taken away from the agent while it works, and given back; its credentials are exchanged, or run out."""

import base64
import json
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import nkeys
import pytest

from agent import configfile, polling
from connectors.sandbox.serve import serve
from schemas.settings import Secret
from tests.agent.harness import (
    Inside,
    Process,
    agent,
    inside,
    octorate,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.faults.changing import Changing, each_came_once
from tests.nats import start_nats

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

Measured = Callable[[str, str, str], None]

WATCHER: dict[str, Any] = {"user": "watcher", "password": Secret("right")}
FINE = "authorization { users: [{ user: watcher, password: right }, { user: agent, password: right }] }"
REFUSED_AT_ONCE = 3.0  # seconds, an interval of polling included: less than the time-out of one request


def denying(verb: str, subject: str) -> str:
    permissions = f'permissions: {{ {verb}: {{ deny: ["{subject}"] }} }}'
    return f"authorization {{ users: [{{ user: watcher, password: right }}, {{ user: agent, password: right, {permissions} }}] }}"


async def readiness(agent: Inside) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://{agent.app.address}/readyz") as reply:
        return await reply.text()


async def is_ready(agent: Inside) -> bool:
    return "true" in await readiness(agent)


@pytest.mark.parametrize(
    ("verb", "denied", "named", "stays_ready"),
    [
        ("publish", "vendorwire.event.>", "vendorwire.event.octorate.hotel.booking.modified", True),
        ("publish", "vendorwire.schedule.>", "vendorwire.schedule.octorate.hotel.booking", True),
        ("publish", "$JS.API.>", "$JS.API.INFO", False),
        ("subscribe", "_INBOX.>", "_INBOX.vendorwire.>", False),
    ],
    ids=["ledger", "schedule", "api", "inbox"],
)
async def test_a_right_taken_away_is_named_at_once_and_its_return_is_noticed(
    verb: str,
    denied: str,
    named: str,
    stays_ready: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    measured: Measured,
) -> None:
    monkeypatch.setattr(polling, "UNFIT_PAUSE", 1.0)
    sentence = f"the NATS user may not {verb} to {named}: grant it this subject"
    vendor = Changing()

    def said() -> list[str]:
        records = [record for record in caplog.records if record.levelname == "WARNING"]
        return [f"{record.getMessage()} {vars(record).get('detail', '')}" for record in records]

    async def is_told(agent: Inside) -> bool:
        return sentence in (" ".join(said()) if stays_ready else await readiness(agent))

    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with start_nats(tmp_path / "nats", config_extra=FINE) as nats:
            bus = {"url": nats.url, "user": "agent", "password": "right"}
            routes = [webhook("crm", receiver.url)]
            file = write_config(tmp_path, bus=bus, accounts=[octorate("hotel", url)], routes=routes)
            async with inside(configfile.load(file)) as agent:
                async with vendor.meanwhile():
                    nats.reload(denying(verb, denied))
                    noticed = await until(partial(is_told, agent))
                    await until(lambda: f"may not {verb} to" in " ".join(said()))
                    await anyio.sleep(2)  # tried again and again, and said once
                    assert await is_ready(agent) is stays_ready
                    assert len(said()) == len(set(said())) < 10
                    assert "TaskGroup" not in " ".join(said())
                    got = len(receiver.got)
                    nats.reload(FINE)
                    seconds = await until(partial(is_ready, agent)) + await until(lambda: len(receiver.got) > got)
                events = await vendor.story(nats.url, **WATCHER)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
    assert noticed < REFUSED_AT_ONCE
    assert seconds < 5
    fault = f"the NATS user may no longer {verb} to {denied}"
    measured("never silent", fault, f"named after {noticed:.1f} s, no line of the log twice")
    measured("it resumes by itself", fault, f"delivers {seconds:.1f} s after the grant, nothing lost, nothing twice")


async def test_an_exchanged_password_is_read_again_and_the_old_one_is_refused(
    tmp_path: Path, measured: Measured
) -> None:
    def users(word: str) -> str:
        return f"authorization {{ users: [{{ user: watcher, password: right }}, {{ user: agent, password: {word} }}] }}"

    async def is_refused(process: Process) -> bool:
        status, body = await process.get("/readyz")
        return status == 503 and "refused the credentials" in body

    vendor = Changing()
    word = tmp_path / "word"
    word.write_text("canary-first\n")
    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with start_nats(tmp_path / "nats", config_extra=users("canary-first")) as nats:
            bus = {"url": nats.url, "user": "agent", "password": f"${{file:{word}}}"}
            routes = [webhook("crm", receiver.url)]
            file = write_config(tmp_path, bus=bus, accounts=[octorate("hotel", url)], routes=routes)
            async with agent(file) as process:
                await synced(process)
                async with vendor.meanwhile():
                    await until(lambda: receiver.got != [])
                    nats.reload(users("canary-second"))  # the server ends what was signed in otherwise
                    await until(partial(is_refused, process))
                    got = len(receiver.got)
                    word.write_text("canary-second\n")
                    seconds = await until(process.is_ready) + await until(lambda: len(receiver.got) > got)
                events = await vendor.story(nats.url, **WATCHER)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
                assert process.log.count("bus lost") == 1
                assert "canary" not in process.log
    assert seconds < 5
    fault = "the password of the bus exchanged on the server, then in the agent's file"
    measured(
        "it resumes by itself", fault, f"delivers {seconds:.1f} s after the file was written; the old one is refused"
    )


class Key:
    """An operator's, an account's or a user's: it signs what those below it may."""

    def __init__(self, kind: int) -> None:
        self.seed = nkeys.encode_seed(secrets.token_bytes(32), kind)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def signed(self, subject: "Key", nats: dict[str, Any], **claims: Any) -> str:
        """A token that says what `subject` is."""
        told = {"jti": secrets.token_hex(8), "iat": int(time.time()), "iss": self.public, "sub": subject.public}
        body = told | {"name": "test", "nats": {"version": 2, **nats}, **claims}
        parts = [json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode(), json.dumps(body).encode()]
        text = b".".join(map(_base64, parts))
        return (text + b"." + _base64(self._pair.sign(text))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Decentral:
    """A server whose users sign in with creds files, as an operator hands them out."""

    def __init__(self) -> None:
        operator, system = Key(nkeys.PREFIX_BYTE_OPERATOR), Key(nkeys.PREFIX_BYTE_ACCOUNT)
        self._account = Key(nkeys.PREFIX_BYTE_ACCOUNT)
        most = {"conn": -1, "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1}
        stores = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        accounts = {
            each.public: operator.signed(
                each, {"type": "account", "limits": most | (stores if each is not system else {})}
            )
            for each in (system, self._account)
        }
        self.config = "\n".join(
            [
                f"operator: {operator.signed(operator, {'type': 'operator'})}",
                f"system_account: {system.public}",
                "resolver: MEMORY",
                f"resolver_preload: {json.dumps(accounts)}",
            ]
        )

    def write(self, creds: Path, seconds: float) -> None:
        """A new user's creds file, that is good for so long."""
        user = Key(nkeys.PREFIX_BYTE_USER)
        limits = {"subs": -1, "data": -1, "payload": -1}
        jwt = self._account.signed(user, {"type": "user", **limits}, exp=int(time.time() + seconds))
        parts = {"NATS USER JWT": jwt, "USER NKEY SEED": user.seed.decode()}
        new = creds.with_suffix(".new")
        new.write_text(
            "\n".join(f"-----BEGIN {name}-----\n{text}\n------END {name}------\n" for name, text in parts.items())
        )
        new.replace(creds)


async def test_a_creds_file_that_is_renewed_in_time_lets_nobody_notice_that_the_old_one_has_run_out(
    tmp_path: Path, measured: Measured
) -> None:
    server, vendor = Decentral(), Changing()
    creds = tmp_path / "agent.creds"
    server.write(creds, 8)
    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with start_nats(tmp_path / "nats", config_extra=server.config) as nats:
            bus = {"url": nats.url, "credentials": str(creds)}
            routes = [webhook("crm", receiver.url)]
            file = write_config(tmp_path, bus=bus, accounts=[octorate("hotel", url)], routes=routes)
            async with agent(file) as process:
                await synced(process)
                server.write(creds, 3600)
                async with vendor.meanwhile():
                    await until(lambda: "bus lost" in process.log)
                    got = len(receiver.got)
                    seconds = await until(process.is_ready) + await until(lambda: len(receiver.got) > got)
                events = await vendor.story(nats.url, credentials=creds)
                assert vendor.faults(events) == []
                await each_came_once(receiver, events)
                assert process.log.count("bus lost") == 1
    assert seconds < 5
    fault = "the creds file of the bus run out (the server ends the connection), a new one written before"
    measured("it resumes by itself", fault, f"delivers {seconds:.1f} s later; nothing lost, nothing twice")
