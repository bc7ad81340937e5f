"""`vendorwire secret`: a new secret to sign a route's webhooks with, and where each part of it goes."""

import sys

from agent.commands import output
from agent.commands.failures import DONE
from events.signing import generate, generate_pair

SHARED = """\
The same secret for both sides. Here: a file, named in the route as `secret: "${file:/path}"`. There: whoever verifies.
"""
PAIR = """\
private: for the configuration only: a file, named in the route as `secret: "${file:/path}"`.
public: for the receiver, who verifies with it and can sign nothing. It is no secret.
"""


def main(*, ed25519: bool, json: bool) -> int:
    """Print it. What is on stdout is kept nowhere else."""
    if ed25519:
        pair = generate_pair()
        _show({"private": pair.private, "public": pair.public}, json=json)
    else:
        _show({"secret": generate()}, json=json)
    if not json:
        sys.stderr.write(PAIR if ed25519 else SHARED)
    return DONE


def _show(parts: dict[str, str], *, json: bool) -> None:
    """One secret alone on its line, so that it can go into a file as it is; of two each under its name."""
    if json:
        output.json(parts)
    elif len(parts) == 1:
        output.line(*parts.values())
    else:
        for name, text in parts.items():
            output.line(f"{name}  {text}")
