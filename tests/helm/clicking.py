"""What comes to an agent over HTTP: somebody who sees each view of its console and acts there, and a vendor with hints."""

from datetime import UTC, datetime, timedelta

import httpx

from tests.agent.harness import Process, until
from tests.console.looking import Looker, looking

TOKEN = "sandbox-admin-token"
HTTP = {"listen": "127.0.0.1:0", "admin_token": TOKEN}
HINT = "canary-hint-secret"


async def hinted(process: Process) -> None:
    """The vendor calls twice: the second call finds that the first is followed."""
    async with httpx.AsyncClient(trust_env=False) as vendor:
        for calls in (1, 2):
            hook = f"http://{await process.address()}/hooks/octorate/hotel/{HINT}"
            assert (await vendor.post(hook)).status_code == 200

            async def are_followed(calls: int = calls) -> bool:
                name = 'vendorwire_hints_total{{account="hotel",outcome="{}",vendor="octorate"}}'
                followed = [await process.metric(name.format(each)) for each in ("accepted", "absorbed")]
                return sum(followed) == calls

            await until(are_followed)


async def clicked(process: Process, event: str, route: str) -> None:
    """`event` is one that was published, `route` has one dead letter, which is dropped."""
    async with looking(f"http://{await process.address()}", TOKEN) as looker:
        await looker.hear("overview", 1)
        await looker.get("/events")
        assert (await looker.get(f"/events/{event}"))["routes"]

        async def is_charted() -> bool:
            (changes,) = (await looker.get("/history?of=changes&hours=1"))["series"]
            return any(changes["values"])

        await until(is_charted)
        await signalled(looker)
        (letter,) = (await looker.get(f"/dead?route={route}"))["dead"]
        await looker.get(f"/dead/{letter['id']}")
        assert "1 dead letter" in await looker.act("/dead/drop", {"ids": [letter["id"]]})
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        assert "handed to" in await looker.act(f"/routes/{route}/replay", {"since": since})
        assert {"pause", "resume", "drop dead letters"} <= {act["act"] for act in (await looker.get("/audit"))["acts"]}


async def signalled(looker: Looker) -> None:
    """What an account is told."""
    await looker.act("/accounts/hotel/pause", {"for": "1h"})
    await looker.act("/accounts/hotel/resume", {})
    await looker.act("/accounts/hotel/booking/interval", {"every": "2s"})
    await looker.act("/accounts/hotel/booking/interval", {"every": None})
