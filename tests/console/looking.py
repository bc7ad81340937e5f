"""What a page does: ask a console, sign in, act, and listen to what happens."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import anyio

from tests.agent.harness import PATIENCE

Wire = dict[str, Any]


class Looker:
    """A browser, as far as the API can tell."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url
        self.csrf = ""

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.csrf:
            sent.setdefault("X-CSRF", self.csrf)
        async with self._session.request(method, self.url + path, json=body, headers=sent) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if text else None

    async def get(self, path: str, **headers: str) -> Any:
        """The answer; it must be one."""
        status, answer = await self.ask("GET", f"/api{path}", **headers)
        assert status == 200, (path, status, answer)
        return answer

    async def act(self, path: str, body: Any = None, **headers: str) -> str:
        """What was done."""
        status, answer = await self.ask("POST", f"/api{path}", body, **headers)
        assert status == 200, (path, status, answer)
        return str(answer["done"])

    async def sign_in(self, token: str) -> None:
        status, answer = await self.ask("POST", "/api/session", {"token": token})
        assert status == 204, answer
        self.csrf = (await self.get("/session"))["csrf"]

    async def resource(self, account: str, resource: str) -> Wire:
        """How the overview shows a resource."""
        (shown,) = (await self.get(f"/overview?q={account}"))["accounts"]
        (found,) = (each for each in shown["resources"] if each["resource"] == resource)
        return dict(found)

    async def route(self, name: str) -> Wire:
        """How the overview shows a route."""
        (found,) = (each for each in (await self.get("/overview"))["routes"] if each["route"] == name)
        return dict(found)

    async def hear(self, kind: str, count: int, path: str = "", **headers: str) -> list[tuple[str, Any]]:
        """Id and data of the first events of a kind."""
        found: list[tuple[str, Any]] = []
        async with aclosing(self.live(path, **headers)) as stream:
            async for each, id_, data in stream:
                if each == kind:
                    found.append((id_, data))
                if len(found) == count:
                    break
        return found

    async def live(self, path: str = "", **headers: str) -> AsyncGenerator[tuple[str, str, Any], None]:
        """Kind, id and data of each event as it comes; comments have no kind."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.get(f"{self.url}/api/live{path}", headers=sent) as reply:
            assert reply.status == 200, await reply.text()
            assert reply.headers["Content-Type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            async for line in reply.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if line == b"\n":
                    yield fields.get("event", ""), fields.get("id", ""), json.loads(fields.get("data", "null"))
                    fields = {}
                elif name:
                    fields[name] = value


@asynccontextmanager
async def looking(url: str, token: str = "") -> AsyncIterator[Looker]:
    """Somebody who looks; signed in where there is a token."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    jar = aiohttp.CookieJar(unsafe=True)  # it keeps cookies of addresses too, as browsers do
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout, read_bufsize=2**22) as session:
        looker = Looker(session, url)
        if token:
            await looker.sign_in(token)
        with anyio.fail_after(3 * PATIENCE):
            yield looker
