"""What is told of an account's token: facts, for metrics and the log, and one warning that no fact holds."""

import logging
from collections.abc import Callable

from agent.signin import SignsIn
from agent.standing import Standing
from agent.vault import MAKE_ONE, VARIABLE
from schemas.facts import TokenState

log = logging.getLogger("vendorwire.tokens")


class Telling:
    """Tells `on_state` of one account's token. `wall` in Unix seconds."""

    def __init__(self, connector: SignsIn, on_state: Callable[[TokenState], None], wall: Callable[[], float]) -> None:
        self._connector = connector
        self._on_state = on_state
        self._wall = wall
        self._healthy: bool | None = None  # as told last
        self._warned = False
        self._stumbles = False

    def tell(self, standing: Standing, renewal: str = "") -> None:
        """How it stands now."""
        left = standing.left
        self._stumbles = False
        self._healthy = standing.is_healthy
        self._on_state(
            TokenState(
                vendor=self._connector.vendor,
                account=self._connector.name,
                healthy=self._healthy,
                expires_at=self._wall() + left if left > 0 else None,
                renewal=renewal,
            )
        )

    def learnt(self, standing: Standing) -> None:
        """How it stands, as some agent has stored it. One that ran out before this agent began is no trouble, and no news."""
        if self._healthy is not None or standing.left > 0 or standing.entry.problem:
            self.tell(standing)

    def notice(self, standing: Standing) -> None:
        """Nobody has renewed it, and now it has run out: that is told once."""
        if self._healthy and not standing.is_healthy:
            self.tell(standing)

    def replaced(self) -> None:
        """The vendor gave another refresh token, and there is no key to keep it with."""
        if self._warned:
            return
        self._warned = True
        log.warning(
            "the vendor has replaced the refresh token, and there is no key to keep the new one with: "
            "a restart, or a second agent, loses the consent. Set %s (%s)",
            VARIABLE,
            MAKE_ONE,
            extra={"vendor": self._connector.vendor, "account": self._connector.name},
        )

    def stumbled(self, error: Exception) -> None:
        """What nobody foresaw is being handled: logged once with its traceback, until something else is to be told."""
        if not self._stumbles:
            self._stumbles = True
            where = f"{self._connector.vendor}/{self._connector.name}"
            log.error("the token of %s could not be renewed, in an unforeseen way", where, exc_info=error)
