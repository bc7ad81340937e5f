"""The command line: from what was typed to the command, and to its exit status.

Exit status 0 done, 1 failed, 2 wrong usage or configuration. Results go to stdout, everything else to stderr.
Commands are imported when they are asked for, so that `--help` is quick.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.arguments import parser

if TYPE_CHECKING:
    from agent.commands.reaching import Settings

ENDLESS = ("run", "demo", "watch", "sandbox")  # Ctrl-C is how these are meant to end


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # both are text files
    options = argparse.Namespace(config=None, json=False, log_level=None, command=None)
    try:
        status = _parse_and_run(argv, options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        if options.command in ENDLESS:
            return 0
        sys.stderr.write("vendorwire: interrupted\n")
        return 1
    except BrokenPipeError:  # the reader has seen enough; nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parse_and_run(argv: Sequence[str] | None, options: argparse.Namespace) -> int:
    try:
        parser().parse_args(argv, options)
    except SystemExit as ended:  # argparse has said all there is to say
        return int(ended.code or 0)
    if options.command == "run":
        _end_at_once_on_signals()
    return _run(options)


def _end_at_once_on_signals() -> None:
    """Until the agent listens to SIGTERM and Ctrl-C itself it has begun nothing, and may end on the spot.

    Not by an exception: one that is raised while a module is imported may get lost.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))


def _run(options: argparse.Namespace) -> int:
    from agent import log
    from agent.commands import failures

    running = options.command == "run"
    log.setup(options.log_level or ("info" if running else "warning"), json=running and options.json)
    try:
        return _dispatch(options)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 the last line: whatever it is, it ends in a sentence
        return failures.report(error, debug=options.log_level == "debug")


def _dispatch(options: argparse.Namespace) -> int:
    match options.command:
        case "init":
            from agent.commands import init

            return init.main(options.config, force=options.force, json=options.json)
        case "demo":
            from agent import demo

            return demo.main(options.json)
        case "schema":
            from agent import schemata

            return schemata.main(options.name, options.out, options.json)
        case "secret":
            from agent.commands import secret

            return secret.main(ed25519=options.ed25519, json=options.json)
        case "sandbox":
            from agent.commands import sandbox

            return sandbox.main(
                options.vendor, port=options.port, seed=options.seed, live=options.live, json=options.json
            )
        case _:
            return _dispatch_configured(options)


def _dispatch_configured(options: argparse.Namespace) -> int:
    from agent.commands.reaching import Settings

    settings = Settings(config=options.config, json=options.json)
    match options.command:
        case "run":
            from agent.commands import run

            return run.main(settings, options.roles)
        case "check":
            from agent.commands import check

            return check.main(settings, offline=options.offline)
        case "watch":
            from agent.commands import watch

            return watch.main(settings, options.patterns, options.since)
        case "dead":
            from agent.commands import dead

            meant = dead.Meant(
                ids=tuple(options.ids),
                route=options.route,
                since=options.since,
                until=options.until,
                reason=options.reason,
            )
            return dead.main(settings, options.action, meant, yes=options.yes)
        case "replay":
            from agent.commands import replay

            asked = replay.Asked(
                route=options.route,
                since=options.since,
                until=options.until,
                events=tuple(options.events),
                rate=options.rate,
            )
            return replay.main(settings, asked, dry_run=options.dry_run, yes=options.yes)
        case "routes":
            from agent.commands import routes

            return routes.main(settings)
        case "explain":
            from agent.commands import explain

            return explain.main(settings, options.id)
        case "audit":
            from agent.commands import audit

            return audit.main(settings, options.since)
        case "pause" | "resume" | "rebaseline" | "rewind" | "interval":
            return _dispatch_signal(settings, options)
        case _:
            return _dispatch_of_account(settings, options)


def _dispatch_signal(settings: "Settings", options: argparse.Namespace) -> int:
    from agent.commands import signals

    match options.command:
        case "pause":
            return signals.pause(settings, options.account, options.span)
        case "resume":
            return signals.resume(settings, options.name, options.kind)
        case "rebaseline":
            return signals.rebaseline(settings, options.account, options.resource, events=options.events)
        case "rewind":
            return signals.rewind(settings, options.account, options.resource, options.to)
        case _:
            return signals.interval(settings, options.account, options.resource, options.every)


def _dispatch_of_account(settings: "Settings", options: argparse.Namespace) -> int:
    match options.command:
        case "poll":
            from agent.commands import poll

            return poll.main(settings, options.account, options.resource, dry_run=options.dry_run)
        case "authorize":
            from agent.commands import authorize

            if options.forget:
                return authorize.forget(settings, options.account)
            if options.subscribe:
                return authorize.subscribe(settings, options.account, options.subscribe)
            how = authorize.How(redirect=options.redirect, listen=options.listen, code=options.code)
            return authorize.main(settings, options.account, how)
        case "snapshot":
            from agent.commands import snapshot

            return snapshot.main(settings, options.account, options.resource, options.key)
        case "deletes":
            from agent.commands import deletes

            if options.action == "list":
                return deletes.show(settings, options.account, options.resource)
            return deletes.approve(settings, options.account, options.resource, yes=options.yes)
        case unknown:
            raise ValueError(f"no command is named {unknown}")


if __name__ == "__main__":
    sys.exit(main())
