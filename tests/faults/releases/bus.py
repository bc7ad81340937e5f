"""Everything on a bus, as lines of JSON: streams, their messages in order, the consumers and how far each has come.

A message keeps its sequence: heads, lanes and consumers name sequences. So where messages have gone a stream has gaps.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from events.jetstream.connection import Bus
from events.jetstream.pull import pulling
from events.jetstream.read import at, held
from tests.agent.harness import NAMES

Wire = dict[str, Any]
GAP = "kept.gap"  # the subject that stands where messages have gone
OF_THE_MOMENT = (
    "Nats-Expected-",
    "Nats-Batch-",
    "Nats-Scheduler",
    "Nats-Schedule-Next",
    "Nats-Msg-Id",
)  # told when a message is stored


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One stored message."""

    sequence: int
    subject: str
    headers: dict[str, str]
    data: str


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer. `waiting`: what it has handed out, up to `handed_out`, and was not told the end of."""

    config: Wire
    handed_out: int
    waiting: list[int]


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream with all it holds."""

    config: Wire
    last: int
    consumers: list[Consumer]
    messages: list[Message]


async def dump(bus: Bus, file: Path) -> None:
    """Write down what is on the bus. No agent must be at work."""
    streams = [await _stream(bus, info) for info in (await bus.api("STREAM.LIST"))["streams"]]
    with file.open("wb") as out:
        for stream in sorted(streams, key=lambda each: str(each.config["name"])):
            out.write(msgspec.json.encode(msgspec.structs.replace(stream, messages=[])) + b"\n")
            out.writelines(msgspec.json.encode(message) + b"\n" for message in stream.messages)


def read(file: Path) -> list[Stream]:
    """What was written down."""
    streams: list[Stream] = []
    for line in file.read_bytes().splitlines():
        if b'"config"' in line[:10]:
            streams.append(msgspec.json.decode(line, type=Stream))
        else:
            streams[-1].messages.append(msgspec.json.decode(line, type=Message))
    return streams


async def load(bus: Bus, streams: Sequence[Stream]) -> None:
    """Put it on a bus that has none of these streams."""
    for stream in streams:
        await _fill(bus, stream)
        for consumer in stream.consumers:
            await _restore(bus, str(stream.config["name"]), consumer)


async def _stream(bus: Bus, info: Wire) -> Stream:
    name, last = info["config"]["name"], info["state"]["last_seq"]
    config = {key: value for key, value in info["config"].items() if key != "metadata"}
    consumers = (await bus.api(f"CONSUMER.LIST.{name}"))["consumers"]
    stored = [await at(bus, name, sequence) for sequence in range(max(info["state"]["first_seq"], 1), last + 1)]
    messages = [
        Message(sequence=each.sequence, subject=each.subject, headers=_lasting(each.headers), data=each.data.decode())
        for each in stored
        if each is not None
    ]
    durable = [await _consumer(bus, each) for each in consumers if each["config"].get("durable_name")]
    return Stream(config=config, last=last, consumers=durable, messages=messages)


def _lasting(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not name.startswith(OF_THE_MOMENT)}


async def _consumer(bus: Bus, info: Wire) -> Consumer:
    config = {key: value for key, value in info["config"].items() if key != "metadata"}
    if not config["durable_name"].startswith("route-"):  # of polls: whatever is there is still to be done
        return Consumer(config=config, handed_out=0, waiting=[])
    waiting = [sequence async for sequence in _in_lanes(bus, config["durable_name"])] if info["num_ack_pending"] else []
    if len(waiting) != info["num_ack_pending"]:
        raise ValueError(f"{config['durable_name']} has more in hand than what waits for a retry: {info}")
    return Consumer(config=config, handed_out=info["delivered"]["stream_seq"], waiting=sorted(waiting))


async def _in_lanes(bus: Bus, consumer: str) -> AsyncIterator[int]:
    route = consumer.removeprefix("route-")
    async for message in held(bus, f"KV_{NAMES.lanes_bucket}", [f"$KV.{NAMES.lanes_bucket}.{route}.*"]):
        if message.data:
            for sequence in msgspec.json.decode(message.data)["lane"][0]:
                yield sequence


async def _fill(bus: Bus, stream: Stream) -> None:
    config = stream.config
    name, scheduled = config["name"], config.get("allow_msg_schedules")
    gap = f"{GAP}.{name}"
    gaps = {"subjects": [*config["subjects"], gap], "deny_delete": False, "max_msgs_per_subject": -1}
    await bus.api(f"STREAM.CREATE.{name}", config if scheduled else {**config, **gaps})
    if scheduled:  # the server makes a tick of what is due, so that no sequence can be foretold, and none matters
        for message in stream.messages:
            await bus.publish(message.subject, message.data.encode(), message.headers)
        return
    messages = {message.sequence: message for message in stream.messages}
    for sequence in range(1, stream.last + 1):
        message = messages.get(sequence) or Message(sequence=sequence, subject=gap, headers={}, data="")
        stored = await bus.publish(message.subject, message.data.encode(), message.headers)
        if stored != sequence:
            raise ValueError(f"{name}: number {sequence} is stored as {stored}")
    await bus.api(f"STREAM.PURGE.{name}", {"filter": gap})
    await bus.api(f"STREAM.UPDATE.{name}", config)


async def _restore(bus: Bus, stream: str, consumer: Consumer) -> None:
    """Made without its priorities, as it is to hand out to us; what had been settled is settled again."""
    config = consumer.config
    name = config["durable_name"]
    plain = {key: value for key, value in config.items() if not key.startswith(("priority_", "opt_start_"))}
    await _create(bus, stream, name, plain | {"deliver_policy": "all"})
    async with pulling(bus, stream, name) as puller:
        last = 0
        while last < consumer.handed_out and (messages := await puller.take(1, 1.0)):
            (message,) = messages
            last = message.sequence
            if last > consumer.handed_out or last in consumer.waiting:
                await message.retry(1)
            else:
                await message.ack()
    await _create(bus, stream, name, {**plain, **config, "deliver_policy": "all", "opt_start_seq": 0})


async def _create(bus: Bus, stream: str, name: str, config: Wire) -> None:
    await bus.api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})
