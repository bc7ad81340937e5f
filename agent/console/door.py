"""Who may look, and who may act.

Reading needs nothing where the agent listens on this machine only and is asked as this machine; else, and for every action,
the admin token: as a bearer token, or once for a session. A session is a cookie that any agent with the same token accepts:
it is signed with a key made from the token, so another token ends all of them.
"""

import hashlib
import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import msgspec
from aiohttp import HttpVersion11, web

from agent.config import Http
from agent.console.refusing import Refused
from schemas.facts import SignInOutcome
from schemas.settings import MissingReferenceError

COOKIE = "vendorwire_session"
CSRF = "X-CSRF"
LASTS = 12 * 3600  # seconds
ALONE = ("localhost", "localhost.localdomain")
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
UNCONFIGURED = "no admin token is configured here: set http.admin_token to a long random text, and restart"
SIGN_IN = "sign in with the admin token (http.admin_token), or send it as `Authorization: Bearer …`"
WRONG = "this is not the admin token (http.admin_token)"
TRIES, TRIES_OF_ALL = 5, 30  # wrong tokens in a row from one address, and from all together;
AGAIN, AGAIN_OF_ALL = 12.0, 2.0  # seconds after which one more may be tried
ADDRESSES = 2_000  # that are remembered

log = logging.getLogger("vendorwire.console")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: `who` names the way he signed in, `where` his address. `csrf` is what his actions must bring, with a session."""

    who: str
    where: str
    signed_in: bool
    csrf: str | None = None


class Door:
    """`clock` gives the Unix time in seconds; `on_wrong` is told of each wrong token: from where, and what became of it."""

    def __init__(
        self,
        settings: Http,
        clock: Callable[[], float] = time.time,
        on_wrong: Callable[[str, SignInOutcome], None] = lambda *_: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_wrong = on_wrong
        self._alone = _is_loopback(settings.address[0])
        self._tries = Tries(clock)

    @property
    def acts(self) -> bool:
        """Whether there is a token to act with."""
        return self._settings.admin_token is not None

    def is_open(self, request: web.Request) -> bool:
        """Whether reading needs no token: asked by this machine as this machine. What a proxy passed on is not, and a page of
        another name (DNS rebinding) is not either. nginx, unless told otherwise, asks as this machine, says nothing of whom
        it asks for, and speaks HTTP/1.0, which no browser does."""
        host = _host(request.host)
        forwarded = request.version < HttpVersion11 or any(name in request.headers for name in FORWARDED)
        return self._alone and not forwarded and _is_loopback(host) and _is_loopback(request.remote or "")

    def caller(self, request: web.Request) -> Caller:
        """Who asks. Raises Refused for a wrong token, and where too many were tried."""
        where = request.remote or "unknown"
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            self.check(token.strip(), where)
            return Caller(who="bearer", where=where, signed_in=True)
        cookie = request.cookies.get(COOKIE, "")
        if cookie and self._is_ours(cookie):
            return self.holder(cookie, where)
        return Caller(who="nobody", where=where, signed_in=False)

    def let_knock(self, request: web.Request) -> Caller:
        """For what anybody may ask. Raises Refused for a wrong token."""
        _refuse_other_sites(request)
        return self.caller(request)

    def let_read(self, request: web.Request) -> Caller:
        """Raises Refused."""
        _refuse_other_sites(request)
        caller = self.caller(request)
        if not caller.signed_in and not self.is_open(request):
            raise (
                Refused(401, SIGN_IN) if self.acts else Refused(403, f"to read from elsewhere, {_lower(UNCONFIGURED)}")
            )
        return caller

    def let_act(self, request: web.Request) -> Caller:
        """Raises Refused."""
        _refuse_other_sites(request)
        if not self.acts:
            raise Refused(403, UNCONFIGURED)
        caller = self.caller(request)
        if not caller.signed_in:
            raise Refused(401, SIGN_IN)
        brought = request.headers.get(CSRF, "")
        if caller.csrf is not None and not hmac.compare_digest(_bytes(brought), caller.csrf.encode()):
            raise Refused(403, f"the header {CSRF} must hold the session's `csrf`, as /api/session tells it")
        return caller

    def check(self, token: str, where: str) -> None:
        """Raises Refused unless it is the admin token. Who has it is let in whatever others try behind the same proxy."""
        if not self.acts:
            raise Refused(403, UNCONFIGURED)
        if hmac.compare_digest(_digest(_bytes(token)), _digest(self._token())):
            self._tries.succeeded(where)
            return
        if wait := self._tries.wait(where):
            self._on_wrong(where, SignInOutcome.THROTTLED)
            raise Refused(429, f"{WRONG}, and too many wrong ones were tried: try again in {wait:.0f} s", wait)
        self._tries.failed(where)
        self._on_wrong(where, SignInOutcome.REFUSED)
        log.warning("a wrong admin token was tried", extra={"from": where})
        raise Refused(401, WRONG)

    def let_reveal(self, caller: Caller) -> None:
        """Personal data is for whoever may act. Raises Refused."""
        if not self.acts:
            raise Refused(403, UNCONFIGURED)
        if not caller.signed_in:
            raise Refused(401, f"to see personal data, {SIGN_IN}")

    def session(self) -> str:
        """A new session's cookie."""
        body = f"{int(self._clock()) + LASTS}.{secrets.token_hex(12)}"
        return f"{body}.{self._signed('session', body)}"

    def holder(self, cookie: str, where: str) -> Caller:
        """Whose session this is."""
        return Caller(who=f"session {_name(cookie)}", where=where, signed_in=True, csrf=self._signed("csrf", cookie))

    def _is_ours(self, cookie: str) -> bool:
        body, _, signature = cookie.rpartition(".")
        if not self.acts or not hmac.compare_digest(_bytes(signature), self._signed("session", body).encode()):
            return False
        return int(body.partition(".")[0]) > self._clock()

    def _signed(self, purpose: str, text: str) -> str:
        key = hmac.digest(self._token(), f"vendorwire console {purpose}".encode(), "sha256")
        return hmac.digest(key, _bytes(text), "sha256").hex()

    def _token(self) -> bytes:
        token = self._settings.admin_token
        if token is None:
            raise Refused(403, UNCONFIGURED)
        try:
            return token.reveal().encode()
        except MissingReferenceError:
            raise Refused(503, "the file or variable of http.admin_token is not there", 5) from None


class Tries:
    """Wrong tokens: a few at once, then one now and then; of one address (of a whole IPv6 network), and of all.

    It keeps the log short. Against guessing there is the length of the token: each wrong one costs us a digest.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()  # when all tries of an address are forgotten
        self._all_free_at = 0.0

    def wait(self, where: str) -> float:
        """Seconds until one more may be tried; 0 for now."""
        now = self._clock()
        own = self._free_at.get(_network(where), 0.0) - now - (TRIES - 1) * AGAIN
        of_all = self._all_free_at - now - (TRIES_OF_ALL - 1) * AGAIN_OF_ALL
        return max(own, of_all, 0.0)

    def failed(self, where: str) -> None:
        now, network = self._clock(), _network(where)
        self._free_at[network] = max(self._free_at.pop(network, now), now) + AGAIN
        self._all_free_at = max(self._all_free_at, now) + AGAIN_OF_ALL
        while len(self._free_at) > ADDRESSES:
            self._free_at.popitem(last=False)

    def succeeded(self, where: str) -> None:
        self._free_at.pop(_network(where), None)


def set_cookie(response: web.StreamResponse, request: web.Request, value: str) -> None:
    """`Secure` where the browser came by https, also before a proxy that says so."""
    secure = request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"
    lasts = LASTS if value else 0
    response.set_cookie(COOKIE, value, max_age=lasts, path="/", httponly=True, samesite="Strict", secure=secure)


def _refuse_other_sites(request: web.Request) -> None:
    """Browsers say where a request comes from; others do not."""
    if request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        raise Refused(403, "a page of another site may not ask this")


def _network(where: str) -> str:
    try:
        address = ip_address(where.partition("%")[0])
    except ValueError:
        return where
    return where if address.version == 4 else str(ip_network((address, 64), strict=False))


def _host(text: str) -> str:
    """The name in a Host header."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if ":" in text else text


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() in ALONE


def _name(cookie: str) -> str:
    """A name for a session that lets nobody into it."""
    return hashlib.sha256(_bytes(cookie)).hexdigest()[:8]


def _bytes(text: str) -> bytes:
    """As it came: a header may hold bytes that are no text."""
    return text.encode("utf-8", "surrogateescape")


def _digest(text: bytes) -> bytes:
    """Of one length whatever was typed."""
    return hashlib.sha256(text).digest()


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
