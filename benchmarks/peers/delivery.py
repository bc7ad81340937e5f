"""What the rivals that deliver share: what they are told, how a webhook is signed, and what they answer.

Imports nothing of ours: it runs in the rivals' environment.
"""

import argparse
import hmac
import json
import time
from base64 import b64decode, b64encode

CONTENT_TYPE = "application/cloudevents+json"


def arguments() -> argparse.Namespace:
    """Where the events are (`bus`, `stream`, `subject`), where they go (`receiver`), signed with `secret`; how many there are,
    and how many may be under way at once."""
    parser = argparse.ArgumentParser()
    for name in ("bus", "stream", "subject", "receiver", "secret"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    return parser.parse_args()


class Signer:
    """Signs as Standard Webhooks say."""

    def __init__(self, secret: str) -> None:
        self._key = b64decode(secret.removeprefix("whsec_"))

    def headers(self, event_id: str, body: bytes) -> dict[str, str]:
        now = str(int(time.time()))
        digest = hmac.digest(self._key, f"{event_id}.{now}.".encode() + body, "sha256")
        return {
            "webhook-id": event_id,
            "webhook-timestamp": now,
            "webhook-signature": "v1," + b64encode(digest).decode(),
        }


def tell(processor: float) -> None:
    """The answer: processor seconds for all deliveries."""
    print(json.dumps({"processor": processor}), flush=True)
