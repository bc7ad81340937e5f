"""A vendor that gives a new refresh token at each renewal and withdraws the consent when an old one comes back, and agents
that share its account."""

import random
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import anyio
import anyio.lowlevel
import httpx
import msgspec

from agent.tokens import TokenKeeper
from agent.vault import Vault
from connectors.auth import SignIn, Token
from connectors.errors import AuthRefused, VendorError
from events.tokens import MemoryTokenStore, TokenStore
from schemas.facts import TokenState
from schemas.settings import Secret

KEY = "canary-key-canary-key-canary-key-canary-key="  # base64 of 32 bytes
OTHER = "canary-kex-canary-kex-canary-kex-canary-kex="
URL = "https://vendor.example/token"
FIRST = "canary-refresh-0"
PASSWORD = "canary-password"  # in the place of a refresh token: always good


class Granted(msgspec.Struct):
    access: str
    refresh: str
    lifetime: float


_granted = msgspec.json.Decoder(Granted)


class RotatingVendor:
    """Grants access-1 with refresh-1, and so on. `now` in seconds; `forms` holds the refresh token of each sign-in."""

    def __init__(self, now: Callable[[], float], lifetime: float = 100.0) -> None:
        self.now = now
        self.lifetime = lifetime
        self.forms: list[str] = []
        self.times: list[float] = []
        self.refresh = FIRST
        self.withdrawn = False
        self.expires: dict[str, float] = {}
        self.before: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint
        self.after: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint

    async def send(self, request: httpx.Request) -> httpx.Response:
        """One sign-in, `before` it is heard and `after` it is answered."""
        await self.before()
        refresh = parse_qs(request.content.decode())["refresh"][0]
        self.forms.append(refresh)
        self.times.append(self.now())
        if refresh != self.refresh:
            self.withdrawn = refresh != PASSWORD  # somebody may have stolen it
        if self.withdrawn:
            return httpx.Response(400, request=request)
        number = len(self.forms)
        access, self.refresh = f"canary-access-{number}", f"canary-refresh-{number}"
        self.expires[access] = self.now() + self.lifetime
        await self.after()
        granted = Granted(access, self.refresh, self.lifetime)
        return httpx.Response(200, content=msgspec.json.encode(granted), request=request)

    def refuses(self, token: Token) -> bool:
        """Whether a request with this token would be refused."""
        return self.withdrawn or self.now() >= self.expires.get(token.access, 0.0)


class Rotating:
    """Its connector. `signs_in_anew`: what is configured uses nothing up, as a password."""

    vendor = "octorate"
    name = "hotel"

    def __init__(self, refresh_token: str | None = FIRST, *, signs_in_anew: bool = False) -> None:
        self.refresh_token = Secret(refresh_token) if refresh_token else None
        self.signs_in_anew = signs_in_anew

    def sign_in(self, token: Token | None) -> SignIn:
        refresh = token.refresh if token else None
        if refresh is None and self.refresh_token is not None:
            refresh = self.refresh_token.reveal()
        if refresh is None:
            raise AuthRefused("a person's consent is needed")
        granted = _granted.decode((yield httpx.Request("POST", URL, data={"refresh": refresh})).content)
        return Token(access=granted.access, refresh=granted.refresh, lifetime=granted.lifetime)

    def refusal(self, reply: httpx.Response) -> VendorError | None:
        return None


class Agents:
    """Agents that share one account, each with a clock of its own: `skew` is how wrong its wall clock is, in seconds."""

    def __init__(
        self, number: int, *, keys: str = KEY, lifetime: float = 100.0, store: TokenStore | None = None
    ) -> None:
        self.at = 0.0
        self.vendor = RotatingVendor(lambda: self.at, lifetime)
        self.store = store or MemoryTokenStore(lambda: self.at)
        self.told: list[list[TokenState]] = []
        self.keys = keys
        self.keepers = [self.joined() for _ in range(number)]

    def joined(self, keys: str | None = None, *, skew: float = 0.0, connector: Rotating | None = None) -> TokenKeeper:
        """One more agent, just started."""
        offset = 1000.0 * (len(self.told) + 1)
        told: list[TokenState] = []
        self.told.append(told)
        return TokenKeeper(
            connector or Rotating(),
            self.vendor.send,
            told.append,
            rng=random.Random(len(self.told)),
            store=self.store,
            vault=Vault.of(self.keys if keys is None else keys),
            clock=lambda: self.at + offset,
            wall=lambda: self.at + 1_000_000 + skew,
            last_word=0.1,
        )

    async def all_ask(self, times: int = 1) -> list[str]:
        """The access token each agent has for each of its users, who all ask at once; refused ones are left out."""
        got: list[str] = []

        async def ask(keeper: TokenKeeper) -> None:
            try:
                got.append((await keeper.token()).access)
            except AuthRefused:
                return

        async with anyio.create_task_group() as users:
            for keeper in self.keepers:
                for _ in range(times):
                    users.start_soon(ask, keeper)
        return got
