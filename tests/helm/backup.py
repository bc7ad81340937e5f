"""Backing up streams and restoring them: what `nats account backup` and `nats account restore` ask of the server."""

import asyncio

import msgspec
from nats.aio.client import Client

from tests.helm.users import asked

CHUNK = 1024  # bytes: small, so that there are several, and the server waits for us between them


class Backup(msgspec.Struct):
    """One stream: how it is configured, what it holds, and its data with its consumers, as the server packs them."""

    name: str
    config: msgspec.Raw
    state: msgspec.Raw
    chunks: list[bytes]


class _Begun(msgspec.Struct):
    config: msgspec.Raw
    state: msgspec.Raw


class _Listed(msgspec.Struct):
    streams: list[dict[str, msgspec.Raw]]


async def taken(client: Client) -> list[Backup]:
    """All streams of the account, one after the other, by name."""
    listed = msgspec.json.decode((await client.request("$JS.API.STREAM.LIST", b"")).data, type=_Listed)
    names = [msgspec.json.decode(each["config"])["name"] for each in listed.streams]
    return [await _snapshot(client, name) for name in sorted(names)]


async def restored(client: Client, backups: list[Backup]) -> None:
    """Each stream made anew as it was; none of them may be there."""
    there = (await asked(client, "STREAM.NAMES"))["streams"] or []
    assert not {backup.name for backup in backups} & set(there)
    for backup in backups:
        begun = await asked(client, f"STREAM.RESTORE.{backup.name}", _request(backup))
        assert "error" not in begun, begun
        for chunk in (*backup.chunks, b""):
            answer = await client.request(begun["deliver_subject"], chunk, timeout=10)
        assert b'"error"' not in answer.data, answer.data


def _request(backup: Backup) -> bytes:
    return msgspec.json.encode({"config": backup.config, "state": backup.state})


async def _snapshot(client: Client, name: str) -> Backup:
    await asked(client, f"STREAM.INFO.{name}")
    inbox = client.new_inbox()
    coming = await client.subscribe(inbox, pending_bytes_limit=0)
    question = msgspec.json.encode({"deliver_subject": inbox, "chunk_size": CHUNK, "no_consumers": False})
    answer = (await client.request(f"$JS.API.STREAM.SNAPSHOT.{name}", question)).data
    assert b'"error"' not in answer, answer
    begun = msgspec.json.decode(answer, type=_Begun)
    backup = Backup(name, begun.config, begun.state, [])
    async with asyncio.timeout(20):
        while (message := await coming.next_msg(20)).data:
            backup.chunks.append(message.data)
            if message.reply:
                await message.respond(b"")  # the server sends on
    await coming.unsubscribe()
    return backup
