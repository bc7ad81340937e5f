"""nats-sinks: its runner and its HTTP sink, with a signature, which it does not make by itself.

It sends one request after the other, each over a connection of its own, whatever may be under way at once.
"""

import asyncio
import time
from dataclasses import replace

import uvloop
from nats_sinks.core.config import DeliveryConfig
from nats_sinks.core.runner import JetStreamSinkRunner
from nats_sinks.http.client import HttpRequest, HttpResponse, StandardHttpClient
from nats_sinks.http.config import HttpSinkConfig
from nats_sinks.http.sink import HttpSink

from benchmarks.peers.delivery import Signer, arguments, tell


class _Signing(StandardHttpClient):
    def __init__(self, signer: Signer, number: int) -> None:
        self._signer = signer
        self._left = number
        self.done = asyncio.Event()

    async def send(self, request: HttpRequest, *, timeout_seconds: float, max_response_bytes: int) -> HttpResponse:
        signed = self._signer.headers(request.headers["Idempotency-Key"], request.body)
        reply = await super().send(
            replace(request, headers={**request.headers, **signed}),
            timeout_seconds=timeout_seconds,
            max_response_bytes=max_response_bytes,
        )
        self._left -= 1
        if not self._left:
            self.done.set()
        return reply


async def main() -> None:
    told = arguments()
    client = _Signing(Signer(told.secret), told.number)
    config = HttpSinkConfig.model_validate(
        {
            "type": "http",
            "url": told.receiver,
            "body_format": "payload",
            "allow_http_for_local_testing": True,
            "idempotency": {"strategy": "message_id"},
        }
    )
    runner = JetStreamSinkRunner(
        nats_url=told.bus,
        stream=told.stream,
        consumer="rival",
        subject=told.subject,
        sink=HttpSink(url=told.receiver, config=config, client=client),
        delivery=DeliveryConfig(batch_size=told.in_flight),
    )

    async def stop() -> None:
        await client.done.wait()
        runner.request_stop()  # the batch it is at is acknowledged first

    started = time.process_time()
    async with asyncio.TaskGroup() as group:
        group.create_task(stop())
        await runner.run()
    tell(time.process_time() - started)


if __name__ == "__main__":
    uvloop.run(main())
