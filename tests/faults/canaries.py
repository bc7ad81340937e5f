"""Every secret that an agent knows, each a text that occurs nowhere else, and where such a text is looked for."""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote_plus

from connectors.sandbox import carbontrack, ipro, octorate, powerpro
from connectors.sandbox.powerpro_data import BORN
from events.signing import generate, generate_pair

RUN = re.compile(rb"[\w+/-]{12,}", re.ASCII)
KEY, KEY_BEFORE = (b64encode(f"canary-key-{n}".ljust(32, "-").encode()).decode() for n in "12")
CANARIES = {
    "the client secret at Octorate": octorate.CLIENT_SECRET,
    "the refresh token from the configuration": octorate.REFRESH_TOKEN,
    "refresh tokens that vendors gave": "sandbox-refresh-",
    "access tokens that vendors gave": "sandbox-access-",
    "the code of a consent": "canary-consent-code",
    "the client secret at iPro": ipro.CLIENT_SECRET,
    "the password at carbonTRACK": carbontrack.PASSWORD,
    "the key at PowerPro": powerpro.API_KEY,
    "the password at PowerPro": powerpro.PASSWORD,
    "the secret of a webhook": generate().removeprefix("whsec_"),
    "its secret before that": generate().removeprefix("whsec_"),
    "the private key of a webhook": generate_pair().private.removeprefix("whsk_"),
    "a header of a webhook": "canary-webhook-header",
    "the path of a webhook": "canary-webhook-path",
    "the query of a webhook": "canary-webhook-query",
    "the password of the bus": "canary-password-of-nats",
    "the token of the bus": "canary-token-of-nats",
    "the key to the tokens": KEY,
    "the key before that": KEY_BEFORE,
    "the admin token": "canary-admin-token",
    "a secret in a file": "canary-in-a-file",
    "redacted e-mail addresses": "@canary-person",
    "redacted telephone numbers": "+39 000 000",
    "birth dates": BORN,
    "what no connector takes": "sandbox-private",
}


def found_in(place: str, content: str | bytes) -> list[str]:
    """Which of them can be read there: as they are, in a URL, or in base64 (with whatever stands around them)."""
    raw = content if isinstance(content, bytes) else content.encode(errors="replace")
    texts = [raw.decode(errors="replace"), _decoded(raw)]
    texts += [unquote_plus(text) for text in texts]
    return [f"{place}: {what}" for what, canary in CANARIES.items() if any(canary in text for text in texts)]


def found_below(folder: Path) -> list[str]:
    """Which of them can be read in a folder's files."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [each for file in files for each in found_in(str(file.relative_to(folder)), file.read_bytes())]


def all_found(places: dict[str, str]) -> list[str]:
    return [each for place, content in places.items() for each in found_in(place, content)]


def _decoded(raw: bytes) -> str:
    runs: Iterable[bytes] = (run.translate(bytes.maketrans(b"-_", b"+/")) for run in RUN.findall(raw))
    return "\n".join(b64decode(run[: len(run) // 4 * 4]).decode(errors="replace") for run in runs)
