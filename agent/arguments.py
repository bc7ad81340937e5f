"""What may be typed on the command line: every command with its arguments and its help. Quick: it imports argparse only."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

ROLES = ("poll", "route")
LEVELS = ("debug", "info", "warning", "error")
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 it has no public name


def parser() -> argparse.ArgumentParser:
    """What may be typed. The namespace gets `command`, and what its command declares."""
    made = argparse.ArgumentParser(
        prog="vendorwire",
        description="Turns vendor REST APIs that have no event feed into an event bus.",
        epilog="Exit status: 0 done, 1 failed, 2 wrong usage or configuration. `vendorwire COMMAND --help` tells more.",
        parents=[_common()],
        allow_abbrev=False,
    )
    made.add_argument("--version", action=_Version, help="print the version and end")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    _declare_process(commands)
    _declare_accounts(commands)
    _declare_signals(commands)
    _declare_bus(commands)
    _declare_aids(commands)
    return made


def _declare_process(commands: _Commands) -> None:
    run = _command(commands, "run", "the agent: poll, publish, deliver, until Ctrl-C or SIGTERM")
    run.add_argument("--roles", type=_roles, default=ROLES, metavar="poll,route", help="only these (default both)")
    _command(commands, "demo", "see changes in a fake vendor account arrive as signed webhooks")
    init = _command(commands, "init", "write a commented configuration to start from")
    init.add_argument("--force", action="store_true", help="replace the file if there is one")
    check = _command(commands, "check", "check the configuration, sign in everywhere, read a little, ask the bus")
    check.add_argument("--offline", action="store_true", help="only the configuration")


def _declare_accounts(commands: _Commands) -> None:
    poll = _command(commands, "poll", "ask for a poll now")
    poll.add_argument("account", metavar="ACCOUNT")
    poll.add_argument("resource", metavar="RESOURCE", nargs="?", help="default: every resource of the account")
    poll.add_argument("--dry-run", action="store_true", help="poll here, show the events, store nothing")
    authorize = _command(commands, "authorize", "consent once in the browser, and store the tokens for all agents")
    authorize.add_argument("account", metavar="ACCOUNT")
    authorize.add_argument(
        "--redirect", metavar="URL", help="where the vendor sends the browser (default: redirect_uri)"
    )
    ways = authorize.add_mutually_exclusive_group()
    ways.add_argument("--listen", type=_address, metavar="HOST:PORT", help="catch the browser here; this machine only")
    ways.add_argument("--code", metavar="CODE", help="the code, where it is known already")
    ways.add_argument(
        "--subscribe",
        type=_public,
        metavar="URL",
        help="have the vendor call the account's hook instead: URL is where agents are reached from outside",
    )
    ways.add_argument("--forget", action="store_true", help="remove the stored token of any account instead")
    watch = _command(commands, "watch", "follow events, one line each")
    watch.add_argument(
        "patterns", metavar="PATTERN", nargs="*", help="<resource>.<change>, either may be *: 'booking.*' (default all)"
    )
    watch.add_argument("--since", type=_duration, metavar="1h", help="begin so long ago (default: now)")
    snapshot = _command(commands, "snapshot", "list the stored records of a resource, or show one")
    snapshot.add_argument("account", metavar="ACCOUNT")
    snapshot.add_argument("resource", metavar="RESOURCE")
    snapshot.add_argument("key", metavar="KEY", nargs="?", help="only this record, whole")
    deletes = _family(commands, "deletes", "deletes held because too much vanished at once")
    listing = _command(deletes, "list", "what is held, and the keys of one resource")
    listing.add_argument("account", metavar="ACCOUNT", nargs="?")
    listing.add_argument("resource", metavar="RESOURCE", nargs="?")
    approve = _command(deletes, "approve", "publish the held deletes of a resource")
    approve.add_argument("account", metavar="ACCOUNT")
    approve.add_argument("resource", metavar="RESOURCE")
    approve.add_argument("--yes", action="store_true", help="do not ask")


def _declare_signals(commands: _Commands) -> None:
    pause = _command(commands, "pause", "poll an account no more, until it is resumed")
    pause.add_argument("account", metavar="ACCOUNT")
    pause.add_argument("--for", dest="span", type=_duration, metavar="2h", help="go on by itself after so long")
    resume = _command(commands, "resume", "poll a paused account again; or start a route again that stopped or rests")
    resume.add_argument("name", metavar="NAME", help="of an account or a route")
    kinds = resume.add_mutually_exclusive_group()
    for kind in ("account", "route"):
        help_ = f"NAME is that of {'an account' if kind == 'account' else 'a route'}: for names that both have"
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=help_)
    anew = _command(
        commands, "rebaseline", "read a resource whole, as for the first time; what differs is stored silently"
    )
    _declare_resource(anew)
    anew.add_argument("--events", action="store_true", help="publish what differs")
    rewind = _command(commands, "rewind", "read a resource again since a time; what was told is not told again")
    _declare_resource(rewind)
    rewind.add_argument("--to", type=_moment, required=True, metavar="T", help="2h ago, or a time (RFC 3339)")
    interval = _command(commands, "interval", "poll a resource every so often, until an agent starts")
    _declare_resource(interval)
    ways = interval.add_mutually_exclusive_group(required=True)
    ways.add_argument("every", type=_duration, metavar="30s", nargs="?")
    ways.add_argument("--reset", action="store_true", help="as configured again")
    audit = _command(commands, "audit", "what was done by hand, and by whom: the last 100 acts")
    audit.add_argument("--since", type=_moment, metavar="T", help="all since then: 2h ago, or a time (RFC 3339)")


def _declare_resource(command: argparse.ArgumentParser) -> None:
    command.add_argument("account", metavar="ACCOUNT")
    command.add_argument("resource", metavar="RESOURCE")


def _declare_bus(commands: _Commands) -> None:
    dead = _family(commands, "dead", "events that could not be delivered")
    for name, does in (
        ("list", "list them"),
        ("show", "show them whole, with the reason"),
        ("replay", "hand them to their route again"),
        ("drop", "remove them for good"),
    ):
        action = _command(dead, name, does)
        action.add_argument("ids", metavar="ID", nargs="*", help="the event's id, or its beginning")
        action.add_argument("--route", metavar="R", help="only of this route")
        action.add_argument("--since", type=_moment, metavar="T", help="last tried since then: 2h ago, or a time")
        action.add_argument("--until", type=_moment, metavar="T", help="last tried until then")
        action.add_argument("--reason", default="", metavar="TEXT", help="only with this in the reason or the status")
        action.add_argument("--yes", action="store_true", help="drop all that fit")
    replay = _command(commands, "replay", "deliver past events to one route again, with the ids they had")
    replay.add_argument("route", metavar="ROUTE")
    replay.add_argument(
        "--since", type=_moment, required=True, metavar="T", help="published since then: 2h ago, or a time (RFC 3339)"
    )
    replay.add_argument("--until", type=_moment, metavar="T", help="published until then (default: now)")
    replay.add_argument(
        "--events",
        type=_patterns,
        action="extend",
        default=[],
        metavar="P",
        help="only these of the route's events: 'booking.*', several with commas",
    )
    replay.add_argument(
        "--rate", type=_rate, default=100.0, metavar="N", help="events handed over a second (default 100)"
    )
    replay.add_argument("--dry-run", action="store_true", help="only say how many events that is")
    replay.add_argument("--yes", action="store_true", help="do not ask, however many they are")
    _command(commands, "routes", "each route: circuit, pending, in flight, dead, last success, last error")
    explain = _command(commands, "explain", "an event: its poll, what changed, and each attempt to deliver it")
    explain.add_argument("id", metavar="EVENT_ID", help="the event's id, or at least 8 characters of its beginning")


def _declare_aids(commands: _Commands) -> None:
    sandbox = _command(commands, "sandbox", "serve a fake vendor on this machine")
    sandbox.add_argument("vendor", metavar="VENDOR")
    sandbox.add_argument("--port", type=_port, default=0, metavar="N", help="default: any free one")
    sandbox.add_argument("--seed", type=_count, metavar="N", help="how many records at first; also seeds all chance")
    sandbox.add_argument("--live", type=_seconds, metavar="SECONDS", help="make a change every so many seconds")
    schema = _command(commands, "schema", "the JSON Schemas and the AsyncAPI document of the events")
    schema.add_argument("name", metavar="NAME", nargs="?", help="only this one")
    schema.add_argument("--out", type=Path, metavar="DIR", help="write files instead of printing")
    secret = _command(commands, "secret", "a new secret to sign a route's webhooks with")
    secret.add_argument("--ed25519", action="store_true", help="a key pair: whsk_… signs here, whpk_… verifies there")


def _command(commands: _Commands, name: str, does: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=does, description=_sentence(does), parents=[_common()], allow_abbrev=False)


def _family(commands: _Commands, name: str, about: str) -> _Commands:
    parser = _command(commands, name, about)
    return parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")


def _common() -> argparse.ArgumentParser:
    """The options of all commands, before or after its name: without defaults, so that neither place undoes the other."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--config", metavar="FILE", help="default: $VENDORWIRE_CONFIG, else vendorwire.yaml")
    common.add_argument("--json", action="store_true", help="for programs: JSON, one value a line")
    common.add_argument("--log-level", choices=LEVELS, help="what is logged on stderr (default warning; info for run)")
    return common


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 argparse's name
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # slow, and seldom asked for

        sys.stdout.write(f"vendorwire {version('vendorwire')}\n")
        parser.exit()


def _sentence(does: str) -> str:
    return f"{does[0].upper()}{does[1:]}."


def _roles(text: str) -> tuple[str, ...]:
    roles = tuple(role.strip() for role in text.split(","))
    if not set(roles) <= set(ROLES):
        raise argparse.ArgumentTypeError(f"the roles are {' and '.join(ROLES)}")
    return roles


def _patterns(text: str) -> list[str]:
    return [pattern.strip() for pattern in text.split(",")]


def _moment(text: str) -> datetime:
    """A time, or how long ago it was."""
    from schemas.settings import Duration, time_in

    if (at := time_in(text)) is not None:
        return at
    try:
        return datetime.now(UTC) - Duration.parse(text)
    except (ValueError, OverflowError):
        how = "write 2h or 30d (so long ago), or a time with its zone such as 2026-05-20T08:00:00Z"
        raise argparse.ArgumentTypeError(f"{text!r} is no time: {how}") from None


def _duration(text: str) -> timedelta:
    from schemas.settings import Duration

    try:
        return Duration.parse(text)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _public(text: str) -> str:
    """The address of agents as the vendor reaches them, without a slash at its end."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
        if (
            not (parts.scheme == "https" or here)
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError("an https address, such as https://vendorwire.example.com") from None
    return text.rstrip("/")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if host.strip("[]") not in {"127.0.0.1", "localhost", "::1"}:
        raise argparse.ArgumentTypeError("an address of this machine, such as 127.0.0.1:8788")
    return host.strip("[]"), _port(port)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number up to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 100_000:
        raise argparse.ArgumentTypeError("a whole number up to 100000")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not 0.1 <= rate <= 1_000_000:
        raise argparse.ArgumentTypeError("a number of events a second, from 0.1 to 1000000")
    return rate


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.01 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("a number of seconds above 0")
    return seconds
