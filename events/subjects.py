"""Names on the bus: subjects, streams and buckets, all under one prefix."""

import re
import zlib
from urllib.parse import unquote

import msgspec

from schemas.changes import Scope

HEAD = "_head"  # cannot be a key: an underscore in a key is percent-encoded
BEGINNING = 8  # characters of an event's id that tell where its attempts are kept
LONGEST = 1024  # bytes of a token: a server closes the connection over a subject near 4 KiB
_TOKEN = re.compile(r"[^A-Za-z0-9-]")


def token(key: str) -> str:
    """A key as one subject token: every byte outside `A-Z a-z 0-9 -` percent-encoded."""
    return _TOKEN.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode("utf-8", "surrogatepass")), key
    )


def key_of(text: str) -> str:
    """The key a token was made from."""
    return unquote(text, errors="surrogatepass")


def fits(key: str) -> bool:
    """Whether a key can be a token: not empty, and not too long once it is encoded."""
    return 0 < len(key) <= LONGEST and len(token(key)) <= LONGEST


class Names(msgspec.Struct, frozen=True):
    """The names under one prefix, `vendorwire` unless configured otherwise."""

    prefix: str = "vendorwire"

    @property
    def ledger(self) -> str:
        return self._stream("")

    @property
    def polls(self) -> str:
        return self._stream("_POLLS")

    @property
    def dead(self) -> str:
        return self._stream("_DEAD")

    @property
    def replays(self) -> str:
        return self._stream("_REPLAYS")

    @property
    def attempts(self) -> str:
        return self._stream("_ATTEMPTS")

    @property
    def audit(self) -> str:
        return self._stream("_AUDIT")

    @property
    def audited(self) -> str:
        """The subject of what people did."""
        return f"{self.prefix}.audit"

    @property
    def history(self) -> str:
        return self._stream("_HISTORY")

    @property
    def lanes_bucket(self) -> str:
        return f"{self.prefix}_lanes"

    @property
    def routes_bucket(self) -> str:
        return f"{self.prefix}_routes"

    def standing(self, route: str) -> str:
        return f"$KV.{self.routes_bucket}.{route}"

    @property
    def signals_bucket(self) -> str:
        return f"{self.prefix}_signals"

    def pause(self, account: str) -> str:
        return f"$KV.{self.signals_bucket}.pause.{account}"

    def interval(self, scope: Scope) -> str:
        return f"$KV.{self.signals_bucket}.interval.{scope.vendor}.{scope.account}.{scope.resource}"

    def hint_claim(self, account: str) -> str:
        return f"$KV.{self.signals_bucket}.hint.{account}"

    @property
    def tokens_bucket(self) -> str:
        return f"{self.prefix}_tokens"

    def token(self, account: str) -> str:
        return f"$KV.{self.tokens_bucket}.{account}"

    def token_claim(self, account: str) -> str:
        return f"$KV.{self.tokens_bucket}.claim.{account}"

    def snapshot(self, scope: Scope, key: str) -> str:
        return f"{self._scoped('snapshot', scope)}.{token(key)}"

    def head(self, scope: Scope) -> str:
        return f"{self._scoped('snapshot', scope)}.{HEAD}"

    def snapshots(self, scope: Scope) -> str:
        return f"{self._scoped('snapshot', scope)}.*"

    @property
    def heads(self) -> str:
        return f"{self.prefix}.snapshot.*.*.*.{HEAD}"

    def event(self, scope: Scope, change: str) -> str:
        return f"{self._scoped('event', scope)}.{change}"

    @property
    def events(self) -> str:
        return f"{self.prefix}.event.>"

    def schedule(self, scope: Scope) -> str:
        return self._scoped("schedule", scope)

    def poll(self, scope: Scope) -> str:
        return self._scoped("poll", scope)

    def dead_letter(self, route: str) -> str:
        return f"{self.prefix}.dead.{route}"

    def replay(self, route: str) -> str:
        return f"{self.prefix}.replay.{route}"

    def attempt(self, route: str, event_id: str) -> str:
        """One of 4096 subjects a route; the beginning of an id leads to the same one as the whole. `*`: of all routes."""
        beginning = event_id[:BEGINNING].encode("utf-8", "surrogatepass")
        return f"{self.prefix}.attempt.{route}.{zlib.crc32(beginning) & 0xFFF:03x}"

    def noted(self, kind: str, *words: str) -> str:
        """A subject of the history: what is noted of a minute, a poll, a record or an agent."""
        return ".".join((self.prefix, "history", kind, *words))

    def scope_of(self, subject: str) -> Scope:
        """The scope in a schedule, poll, snapshot or event subject. What a stranger wrote there is a scope of no vendor."""
        tokens = subject.removeprefix(self.prefix + ".").split(".")[1:4]
        return Scope(*tokens) if len(tokens) == 3 else Scope("", "", ".".join(tokens))

    def _scoped(self, kind: str, scope: Scope) -> str:
        return f"{self.prefix}.{kind}.{scope.vendor}.{scope.account}.{scope.resource}"

    def _stream(self, suffix: str) -> str:
        return self.prefix.upper() + suffix
