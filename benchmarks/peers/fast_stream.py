"""FastStream: a subscriber that pulls from JetStream, with as many workers as deliveries under way, posting with httpx."""

import asyncio
import logging
import time

import httpx
import uvloop
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub

from benchmarks.peers.delivery import CONTENT_TYPE, Signer, arguments, tell


async def main() -> None:
    told = arguments()
    signer, left, done = Signer(told.secret), told.number, asyncio.Event()
    broker = NatsBroker(told.bus, logger=logging.getLogger("quiet"), log_level=logging.DEBUG)
    limits = httpx.Limits(max_connections=told.in_flight, max_keepalive_connections=told.in_flight)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as http:

        @broker.subscriber(
            told.subject,
            stream=JStream(name=told.stream, declare=False),
            durable="rival",
            pull_sub=PullSub(batch_size=told.in_flight),
            max_workers=told.in_flight,
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
        )
        async def deliver(message: NatsMessage) -> None:
            nonlocal left
            headers = signer.headers(message.headers["Nats-Msg-Id"], message.body)
            reply = await http.post(
                told.receiver, content=message.body, headers={**headers, "content-type": CONTENT_TYPE}
            )
            reply.raise_for_status()
            left -= 1
            if not left:
                done.set()

        started = time.process_time()
        await broker.start()
        await done.wait()
        await broker.stop()  # waits for what is acknowledged
        tell(time.process_time() - started)


if __name__ == "__main__":
    uvloop.run(main())
