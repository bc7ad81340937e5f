"""The connection to the bus, against a real nats-server that is killed, hung, misconfigured and brought back."""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import nkeys
import pytest
import trustme
from anyio.abc import SocketStream
from nats.aio.msg import Msg

from events.jetstream.connection import Bus, connect
from events.jetstream.errors import ApiError, BusRefused, BusUnavailable, NobodyListens
from events.jetstream.options import BusOptions, Tls
from schemas.facts import BusState
from schemas.settings import Secret
from tests.nats import DEADLINE, NatsServer, start_nats

pytestmark = pytest.mark.anyio

STREAM = {"name": "S", "subjects": ["s.>"], "allow_direct": True}


class States(list[BusState]):
    """What `connect` told, in order."""

    async def until(self, wanted: Callable[[BusState], bool], seconds: float = DEADLINE) -> BusState:
        with anyio.fail_after(seconds):
            while not (self and wanted(self[-1])):  # noqa: ASYNC110 - a deadline above, and no event to wait for
                await anyio.sleep(0.01)
        return self[-1]

    async def up(self, seconds: float = DEADLINE) -> None:
        await self.until(lambda state: state.connected, seconds)

    async def down(self, seconds: float = DEADLINE) -> str:
        return (await self.until(lambda state: not state.connected, seconds)).detail


@asynccontextmanager
async def ready(options: BusOptions) -> AsyncIterator[tuple[Bus, States]]:
    states = States()
    async with connect(options, states.append) as bus:
        with anyio.fail_after(DEADLINE):
            await bus.ready()
        yield bus, states


async def refusal(options: BusOptions) -> str:
    with pytest.raises(BusRefused) as raised:
        async with ready(options):
            pass
    return str(raised.value)


def at(url: str) -> BusOptions:
    return BusOptions(urls=[url])


@asynccontextmanager
async def speaking(info: str) -> AsyncIterator[str]:
    """A server that says `info` of itself and answers pings; the address."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.send(f"INFO {info}\r\n".encode())
            try:
                while b"PING" not in await stream.receive():
                    pass
                await stream.send(b"PONG\r\n")
                await anyio.sleep_forever()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"nats://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        group.cancel_scope.cancel()


def nkey() -> tuple[str, str]:
    """A user's seed and public key."""
    seed = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode()


def certificate(folder: Path) -> None:
    """A certificate for 127.0.0.1 from an authority of its own."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    made = authority.issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(folder / "key.pem")
    for part in made.cert_chain_pems:
        part.write_to_path(folder / "cert.pem", append=True)


async def test_publishes_and_asks(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        async with ready(at(nats.url)) as (bus, states):
            assert (await bus.api("STREAM.CREATE.S", STREAM))["config"]["name"] == "S"
            assert await bus.publish("s.a", b"one", {"Kind": "test"}) == 1
            assert await bus.publish("s.b", b"two") == 2
            assert (await bus.request("$JS.API.DIRECT.GET.S.s.a")).data == b"one"
            assert 0 < await bus.ping() < DEADLINE
            assert bus.max_payload == 1024 * 1024
            assert states == [BusState(connected=True)]


async def test_names_what_jetstream_refuses(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        async with ready(at(nats.url)) as (bus, _):
            with pytest.raises(ApiError) as missing:
                await bus.api("STREAM.INFO.NONE")
            assert (missing.value.code, missing.value.err_code) == (404, 10059)
            await bus.api("STREAM.CREATE.S", STREAM)
            await bus.publish("s.a", b"one")
            with pytest.raises(ApiError) as conflict:
                await bus.publish("s.a", b"two", {"Nats-Expected-Last-Subject-Sequence": "7"})
            assert conflict.value.err_code == 10071


async def test_a_subject_without_a_stream_is_named(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        async with ready(at(nats.url)) as (bus, _):
            with pytest.raises(NobodyListens, match="nothing listens on nowhere"):
                await bus.publish("nowhere", b"")


async def test_a_message_too_large_with_its_headers_is_refused_and_the_connection_stays(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        async with ready(at(nats.url)) as (bus, states):
            room = bus.max_payload - len("NATS/1.0\r\n\r\n" + "A: b\r\n")
            await bus.api("STREAM.CREATE.S", STREAM)
            assert await bus.publish("s.a", b"x" * room, {"A": "b"}) == 1
            with pytest.raises(ApiError) as refused:
                await bus.publish("s.a", b"x" * (room + 1), {"A": "b"})
            assert refused.value.err_code == 10054
            assert states == [BusState(connected=True)]


async def test_a_batched_get_gives_every_answer(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        async with ready(at(nats.url)) as (bus, _):
            await bus.api("STREAM.CREATE.S", STREAM)
            await bus.publish("s.a", b"one")
            await bus.publish("s.b", b"two")
            found = await bus.request_many("$JS.API.DIRECT.GET.S", b'{"multi_last": ["s.a", "s.b", "s.z"], "batch": 3}')
            assert [(headers["Nats-Subject"], data) for headers, data in found] == [("s.a", b"one"), ("s.b", b"two")]
            assert await bus.request_many("$JS.API.DIRECT.GET.S", b'{"multi_last": ["s.z"]}') == []
            with pytest.raises(ApiError, match="Empty Request"):
                await bus.request_many("$JS.API.DIRECT.GET.S", b'{"multi_last": []}')
            with pytest.raises(NobodyListens):
                await bus.request_many("$JS.API.DIRECT.GET.NONE", b"{}")


async def test_wrong_password_is_a_sentence_without_the_password(tmp_path: Path) -> None:
    with start_nats(tmp_path, config_extra='authorization { user: "agent", password: "right" }') as nats:
        told = await refusal(BusOptions(urls=[nats.url], user="agent", password=Secret("wr0ng-canary")))
    assert told.startswith(f"NATS at {nats.url} refused the credentials: check bus.credentials")


async def test_a_password_in_the_url_shows_nowhere(tmp_path: Path) -> None:
    with start_nats(tmp_path, config_extra='authorization { user: "agent", password: "right" }') as nats:
        options = at(nats.url.replace("://", "://agent:canary@"))
        told = await refusal(options)
    assert "canary" not in told + repr(options)
    assert f"127.0.0.1:{nats.port}" in told


async def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        told = await refusal(BusOptions(urls=[nats.url], token=Secret(f"${{file:{tmp_path}/token}}")))
    assert (
        told
        == f"the credentials of the bus cannot be read: cannot read the file {tmp_path}/token: No such file or directory"
    )


async def test_a_file_that_is_no_creds_file_is_refused(tmp_path: Path) -> None:
    creds = tmp_path / "agent.creds"
    creds.write_text("hello\n")
    told = await refusal(BusOptions(urls=["nats://127.0.0.1:1"], credentials=creds))
    assert told == f"bus.credentials: {creds} is not a creds file: it needs a user JWT and an NKEY seed"


async def test_signs_in_with_an_nkey(tmp_path: Path) -> None:
    seed, public = nkey()
    with start_nats(tmp_path / "nats", config_extra=f'authorization {{ users: [{{nkey: "{public}"}}] }}') as nats:
        async with ready(BusOptions(urls=[nats.url], nkey=Secret(seed))) as (bus, _):
            assert bus.connected


async def test_a_rotated_password_file_serves_the_next_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    with start_nats(tmp_path / "nats", config_extra='authorization { user: "agent", password: "first" }') as nats:
        options = BusOptions(urls=[nats.url], user="agent", password=Secret(f"${{file:{file}}}"))
        async with ready(options) as (bus, states):
            nats.reload('authorization { user: "agent", password: "second" }')  # the server closes our connection
            assert "refused the credentials" in (await states.until(lambda state: "refused" in state.detail)).detail
            file.write_text("second\n")
            await states.up()
            assert await bus.ping() > 0


async def test_a_server_without_jetstream_is_refused(tmp_path: Path) -> None:
    with start_nats(tmp_path, jetstream=False) as nats:
        assert "has no JetStream for this account" in await refusal(at(nats.url))


async def test_an_account_without_jetstream_is_refused(tmp_path: Path) -> None:
    accounts = 'accounts { A { users: [{user: "agent", password: "right"}] } }'
    with start_nats(tmp_path, config_extra=accounts) as nats:
        told = await refusal(BusOptions(urls=[nats.url], user="agent", password=Secret("right")))
    assert "has no JetStream for this account" in told


@pytest.mark.parametrize("version", ["2.10.0", "2.12.11", "2.13.1", "2.14.2"])
async def test_a_server_too_old_is_refused(version: str) -> None:
    async with speaking(f'{{"version": "{version}", "max_payload": 1048576, "headers": true}}') as url:
        told = await refusal(at(url))
    assert told == (
        f"the NATS server at {url} is version {version}: install 2.14.3 or newer (or, within 2.12, 2.12.12 or newer)"
    )


async def test_a_server_that_takes_only_small_messages_is_refused(tmp_path: Path) -> None:
    with start_nats(tmp_path, config_extra="max_payload: 64KB") as nats:
        assert "takes only 65536 bytes: set its max_payload" in await refusal(at(nats.url))


async def test_a_server_without_tls_is_refused_before_the_password_is_sent() -> None:
    async with speaking('{"version": "2.15.1", "max_payload": 1048576, "headers": true}') as url:
        options = BusOptions(urls=[url], user="agent", password=Secret("canary"), tls=Tls())
        assert (
            await refusal(options)
            == f"NATS at {url} offers no TLS: enable it there, or leave out bus.tls and write nats://"
        )


async def test_waits_for_a_server_that_is_down_and_says_so_once(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        nats.stop()
        states = States()
        async with connect(at(nats.url), states.append) as bus:
            assert await states.down() == f"NATS at {nats.url} cannot be reached: Connection refused"
            with pytest.raises(BusUnavailable, match="Connection refused"):
                await bus.publish("s.a", b"")
            assert not bus.connected
            await anyio.sleep(0.7)  # several attempts
            nats.start()
            with anyio.fail_after(5):
                await bus.ready()
        assert [state.connected for state in states] == [False, True]


async def test_tries_every_server(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        async with ready(BusOptions(urls=["nats://127.0.0.1:1", nats.url])) as (bus, _):
            assert bus.connected


async def test_goes_on_by_itself_after_the_server_was_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with start_nats(tmp_path) as nats:
        async with ready(at(nats.url)) as (bus, states):
            await bus.api("STREAM.CREATE.S", STREAM)
            await bus.publish("s.a", b"one")
            nats.kill()
            assert await states.down(2)
            with pytest.raises(BusUnavailable):
                await bus.ping()
            nats.start()
            await states.up(5)
            assert await bus.publish("s.a", b"two") == 2
            assert [state.connected for state in states if state.connected] == [True, True]
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING] == []


async def test_a_kill_under_load_fails_what_is_under_way_at_once_and_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[str] = []
    with start_nats(tmp_path) as nats:
        async with ready(at(nats.url)) as (bus, states):
            await bus.api("STREAM.CREATE.S", STREAM)

            async def keep_publishing() -> None:
                try:
                    while True:
                        await bus.publish("s.load", b"x" * 50_000)
                except BusUnavailable:
                    outcomes.append("unavailable")

            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(keep_publishing)
                await anyio.sleep(0.2)
                nats.kill()
                with anyio.fail_after(3):  # less than a request's time-out
                    while len(outcomes) < 20:  # noqa: ASYNC110 - a deadline above, and no event to wait for
                        await anyio.sleep(0.01)
            nats.start()
            await states.up(5)
    assert outcomes == ["unavailable"] * 20
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_the_time_is_heard_from_answers_that_are_made_when_they_are_asked_for(nats: NatsServer) -> None:
    """Asked after its restart for a consumer that is there, a server answers with the time at which it found it on its disk."""
    consumer = {"stream_name": "SOME", "config": {"durable_name": "one", "ack_policy": "explicit"}}
    async with ready(BusOptions(urls=[nats.url])) as (bus, _):
        await bus.api("STREAM.CREATE.SOME", {"name": "SOME", "subjects": ["some"], "storage": "file"})
        await bus.api("CONSUMER.DURABLE.CREATE.SOME.one", consumer)
    nats.restart()
    await anyio.sleep(1)
    async with ready(BusOptions(urls=[nats.url])) as (bus, _):
        for suffix, body in (("CONSUMER.DURABLE.CREATE.SOME.one", consumer), ("STREAM.INFO.SOME", None)):
            await bus.api(suffix, body)
            assert abs(bus.now() - time.time()) < 0.5


async def test_a_hung_server_is_noticed_and_left_even_with_unsent_data(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        options = BusOptions(urls=[nats.url], ping_interval=1, connect_timeout=1)
        async with ready(options) as (bus, states):
            nats.pause()

            async def publish() -> None:
                while True:
                    await bus.publish_plain("s.a", b"x" * 1_000_000)  # waits once the sockets' buffers are full

            async def publish_until_it_is_lost() -> None:
                with pytest.raises(BusUnavailable):
                    await publish()

            with anyio.fail_after(5):  # three intervals of 1 s; 12 s with those we ship
                async with anyio.create_task_group() as group:
                    for _ in range(5):
                        group.start_soon(publish_until_it_is_lost)
            assert not bus.connected
            nats.resume()
            await states.up(5)
            assert await bus.ping() > 0


async def test_a_late_answer_does_not_harm_the_connection(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats:
        async with ready(at(nats.url)) as (bus, states):
            nats.pause()
            with pytest.raises(BusUnavailable, match=r"no answer on .* within 2 s"):
                await bus.ping()
            nats.resume()
            assert await bus.ping() > 0
            assert states == [BusState(connected=True)]


async def test_subscriptions_live_on_after_a_restart(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def hear(message: Msg) -> None:
        heard.append(message.data)

    with start_nats(tmp_path) as nats:
        async with ready(at(nats.url)) as (bus, states):
            subscription = await bus.subscribe("news.*", hear)
            await bus.publish_plain("news.a", b"before")
            await bus.ping()
            nats.kill()
            await states.down()
            nats.start()
            await states.up()
            await bus.publish_plain("news.a", b"after")
            await bus.ping()
            await bus.unsubscribe(subscription)
            await bus.publish_plain("news.a", b"too late")
            await bus.ping()
            assert heard == [b"before", b"after"]


DENYING = 'authorization { users: [{user: a, password: b, permissions: {publish: {deny: ["Secret.>"]}}}] }'


async def test_a_denied_request_names_its_subject_at_once(tmp_path: Path) -> None:
    with start_nats(tmp_path, config_extra=DENYING) as nats:
        async with ready(BusOptions(urls=[nats.url], user="a", password=Secret("b"))) as (bus, states):
            with anyio.fail_after(2), pytest.raises(BusRefused) as refused:
                await bus.request("Secret.Plans", timeout=60)
            assert str(refused.value) == "the NATS user may not publish to Secret.Plans: grant it this subject"
            assert states == [BusState(connected=True)]


async def test_a_denied_plain_message_is_told_with_the_next_one(tmp_path: Path) -> None:
    with start_nats(tmp_path, config_extra=DENYING) as nats:
        async with ready(BusOptions(urls=[nats.url], user="a", password=Secret("b"))) as (bus, _):
            await bus.publish_plain("Secret.Plans", b"")
            await bus.ping()
            with pytest.raises(BusRefused, match=r"may not publish to Secret\.Plans"):
                await bus.publish_plain("Secret.Plans", b"")


async def test_each_denied_message_is_told_where_it_is_waited_for(tmp_path: Path) -> None:
    told: list[str] = []

    async def send(bus: Bus) -> None:
        try:
            await bus.publish_flushed("Secret.Plans", b"")
        except BusRefused as refused:
            told.append(str(refused))

    with start_nats(tmp_path, config_extra=DENYING) as nats:
        async with ready(BusOptions(urls=[nats.url], user="a", password=Secret("b"))) as (bus, _):
            async with anyio.create_task_group() as group:
                for _ in range(16):
                    group.start_soon(send, bus)
            for _ in range(3):
                await send(bus)
            await bus.publish_flushed("open.plans", b"")
    assert told == ["the NATS user may not publish to Secret.Plans: grant it this subject"] * 19


async def test_a_denied_inbox_is_named_at_once(tmp_path: Path) -> None:
    users = 'authorization { users: [{user: a, password: b, permissions: {subscribe: {allow: ["news.>"]}}}] }'
    with start_nats(tmp_path, config_extra=users) as nats:
        with anyio.fail_after(3):
            told = await refusal(BusOptions(urls=[nats.url], user="a", password=Secret("b")))
    assert told == "the NATS user may not subscribe to _INBOX.vendorwire.>: grant it this subject"


async def test_speaks_tls_and_distrusts_a_strange_certificate(tmp_path: Path) -> None:
    certificate(tmp_path)
    tls = f'tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem" }}'
    with start_nats(tmp_path / "nats", config_extra=tls) as nats:
        async with ready(BusOptions(urls=[nats.url], tls=Tls(ca=tmp_path / "ca.pem"))) as (bus, states):
            assert await bus.ping() > 0
            nats.restart()
            await states.up(5)
        assert "is not trusted" in await refusal(BusOptions(urls=[nats.url], tls=Tls()))


async def test_what_the_body_raises_comes_out_bare(tmp_path: Path) -> None:
    with start_nats(tmp_path) as nats, pytest.raises(ZeroDivisionError):
        async with ready(at(nats.url)):
            raise ZeroDivisionError
