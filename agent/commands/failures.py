"""How a command fails: one sentence on stderr and an exit status, without secrets and without a traceback."""

import sys
import traceback
from collections.abc import Iterator

from agent.faults import ConfigError
from agent.log import clean, escape
from connectors.errors import VendorError
from events.jetstream.errors import BusError, BusUnavailable, NobodyListens
from events.ledger import Conflict, LedgerUnavailable

DONE, FAILED, WRONG = 0, 1, 2
IN_DOUBT = "it is not known whether it was done: look, then try again"


class WrongUsage(Exception):
    """What was typed does not fit the configuration or the command. The message says what there is."""


class Failed(Exception):
    """The command could not do what it was asked. The message is a sentence."""


_SENTENCES = (Failed, BusError, LedgerUnavailable, VendorError)  # their message is all there is to say
_FORESEEN = (*_SENTENCES, ConfigError, WrongUsage, Conflict, OSError)


def leaves_in_doubt(error: BaseException) -> bool:
    """Whether the bus gave no answer to what was begun: it may have done it all the same."""
    return isinstance(error, BusUnavailable | LedgerUnavailable) and not isinstance(error, NobodyListens)


def say(text: str) -> None:
    """A line on stderr, for people."""
    sys.stderr.write(escape(clean(text)) + "\n")


def report(error: Exception, *, debug: bool) -> int:
    """Tell why a command failed; the exit status. `debug` shows the traceback of what nobody foresaw."""
    causes = list(_causes(error))
    first = causes[0]
    if debug and not all(isinstance(cause, _FORESEEN) for cause in causes):
        sys.stderr.write("".join(f"{escape(line)}\n" for line in _trace(error)))
    if isinstance(first, ConfigError):
        for fault in first.faults:
            say(str(fault))
        return WRONG
    if isinstance(first, WrongUsage):
        say(f"vendorwire: {first}")
        return WRONG
    if isinstance(first, _SENTENCES):
        say(f"vendorwire: {first}")
    elif isinstance(first, Conflict):
        say("vendorwire: agents keep changing this while it is changed here: try again")
    elif isinstance(first, OSError):
        say(f"vendorwire: {_of_the_system(first)}")
    else:
        say(f"vendorwire: an unforeseen failure ({type(first).__name__}): --log-level debug shows where")
    return FAILED


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group of groups; the error itself where it is none."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error


def _trace(error: Exception) -> list[str]:
    return clean("".join(traceback.format_exception(error))).splitlines()


def _of_the_system(error: OSError) -> str:
    if error.strerror is None:
        return str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
