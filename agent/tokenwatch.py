"""Every agent knows every account's token, whoever renewed it: what the store holds at the start, then each change."""

import logging
import time
from collections.abc import Mapping
from contextlib import aclosing

import anyio

from agent.faults import ConfigError, Fault
from agent.pulse import Pulse
from agent.tokens import TokenKeeper
from agent.vault import VARIABLE
from connectors.errors import Misconfigured
from events.jetstream.connection import Bus
from events.ledger import LedgerUnavailable
from events.tokens import TokenStore

NOTICE_EVERY = 5.0  # seconds between two looks for tokens that have run out

log = logging.getLogger("vendorwire.tokens")


async def prepare(keepers: Mapping[str, TokenKeeper]) -> None:
    """Open what is stored. Raises ConfigError where a key is wrong or missing, LedgerUnavailable."""
    faults = []
    for keeper in keepers.values():
        try:
            await keeper.prepare()
        except Misconfigured as error:
            faults.append(Fault(VARIABLE, None, "", str(error)))
    if faults:
        raise ConfigError(faults)


async def watch(bus: Bus, store: TokenStore, keepers: Mapping[str, TokenKeeper], pulse: Pulse) -> None:
    """Tell each account's keeper what is stored, for ever; the caller's task group owns it."""
    pulse.expect("tokens", within=60)
    noticed = 0.0
    while True:
        pulse.beat("tokens")
        with anyio.move_on_after(5):
            await bus.ready()
        try:
            for keeper in keepers.values():
                keeper.follow()
            async with aclosing(store.follow()) as news:
                async for each in news:
                    pulse.beat("tokens")
                    if each is not None and each[0] in keepers:
                        keepers[each[0]].learn(each[1])
                    if time.monotonic() - noticed >= NOTICE_EVERY:
                        noticed = time.monotonic()
                        for keeper in keepers.values():
                            keeper.notice()
        except LedgerUnavailable as lost:
            log.debug("tokens are watched again: %s", lost)
            await anyio.sleep(0.5)
