"""A real Prometheus and a real Alertmanager for a test, on free ports of this machine and with all they write in a folder.

async with pager() as page, alertmanager(tmp_path, page.url) as desk:
    async with prometheus(tmp_path, scrape=[await agent.address()], rules=RULES, alertmanager=desk) as watch:
        assert await watch.query("up") == ...
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import msgspec
import pytest
from aiohttp import web
from ruamel.yaml import YAML

from tests.agent.harness import until

PROMETHEUS = ("prometheus", "prometheus")  # the program, and the Debian package that has it
ALERTMANAGER = ("prometheus-alertmanager", "prometheus-alertmanager")
JOB = "vendorwire"
LISTENS = re.compile(r'msg="Listening on" address=(127\.0\.0\.1:\d+)')
DURATION = re.compile(r"\b(\d+)(ms|s|m|h|d|w)\b")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

Labels = dict[str, str]
Tree = Any  # YAML
Config = Mapping[str, object]


class Sample(msgspec.Struct, frozen=True):
    """One series at one moment. Its name is the label `__name__`, where it has one."""

    labels: Labels
    value: float


class Alert(msgspec.Struct, frozen=True):
    """An alert as Prometheus tells it: `pending` or `firing`."""

    labels: Labels
    annotations: Labels
    state: str


class Page(msgspec.Struct, frozen=True, rename="camel"):
    """An alert as it reaches whoever is paged: `firing` or `resolved`."""

    status: str
    labels: Labels
    annotations: Labels


class _Call(msgspec.Struct, frozen=True):
    alerts: list[Page]


class Prometheus:
    """A Prometheus that listens on `address`."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def query(self, expression: str) -> list[Sample]:
        """What an expression gives now. Fails with Prometheus' own sentence where it is none."""
        told = await self._get("query", query=expression)
        if told["resultType"] == "scalar":
            return [Sample({}, float(told["result"][1]))]
        return [Sample(each["metric"], float(each["value"][1])) for each in told["result"]]

    async def alerts(self) -> list[Alert]:
        """What is pending or fires."""
        return [msgspec.convert(each, Alert) for each in (await self._get("alerts"))["alerts"]]

    async def failing_rules(self) -> list[str]:
        """The errors of rules that could not be evaluated, and the names of those that were not yet."""
        rules = [rule for group in (await self._get("rules"))["groups"] for rule in group["rules"]]
        return [f"{rule['name']}: {rule.get('lastError', '')}" for rule in rules if rule["health"] != "ok"]

    async def has_rules(self) -> bool:
        """Whether there are rules, and each was evaluated."""
        return bool((await self._get("rules"))["groups"]) and await self.failing_rules() == []

    async def _get(self, path: str, **query: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}"
        async with aiohttp.ClientSession() as session, session.get(url, params=query) as reply:
            told = await reply.json()
        assert told["status"] == "success", f"{query}: {told['error']}"
        return told["data"]


@asynccontextmanager
async def prometheus(
    folder: Path,
    *,
    scrape: Sequence[str],
    rules: Path | None = None,
    alertmanager: str | None = None,
    every: str = "1s",
) -> AsyncIterator[Prometheus]:
    """A Prometheus that has scraped all these addresses, and looks at them and at its rules as often as `every` says.

    It takes five seconds to begin with the former. So that these are no time without any agent, it is given the rules then.
    """
    desks = [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
    config = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": list(scrape)}]}],
        "alerting": {"alertmanagers": desks},
    }
    options = (f"--storage.tsdb.path={folder / 'prometheus'}",)
    async with _serving(PROMETHEUS, folder, config, options) as service:
        watch = Prometheus(service.address)

        async def scraped() -> bool:
            return len(await watch.query(f'up{{job="{JOB}"}} == 1')) == len(scrape)

        await until(scraped)
        if rules is not None:
            service.configure({**config, "rule_files": [str(rules)]})
            await until(watch.has_rules)
        yield watch


@asynccontextmanager
async def alertmanager(folder: Path, webhook: str, inhibit_rules: Sequence[Tree] = ()) -> AsyncIterator[str]:
    """An Alertmanager that tells a webhook of each alert at once; gives its address."""
    quick = {"group_by": ["..."], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
    config = {
        "route": {"receiver": "pager", **quick},
        "inhibit_rules": list(inhibit_rules),
        "receivers": [{"name": "pager", "webhook_configs": [{"url": webhook, "send_resolved": True}]}],
    }
    options = (f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address=")
    async with _serving(ALERTMANAGER, folder, config, options) as service:
        yield service.address


class Pager:
    """Where alerts arrive; `pages` holds each alert of each call, in order."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.url = ""

    def of(self, status: str) -> list[Page]:
        return [page for page in self.pages if page.status == status]

    async def handle(self, request: web.Request) -> web.Response:
        self.pages += msgspec.json.decode(await request.read(), type=_Call).alerts
        return web.Response()


@asynccontextmanager
async def pager() -> AsyncIterator[Pager]:
    """A webhook for an Alertmanager."""
    page = Pager()
    application = web.Application()
    application.router.add_post("/", page.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        page.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield page
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def shortened(rules: Path, by: float, folder: Path) -> Path:
    """The same rules with each duration divided: `for`, `keep_firing_for`, `interval` and the windows of expressions.

    Nothing else is touched, so a number of seconds in an expression stays what it is.
    """
    tree = YAML(typ="safe").load(rules.read_text(encoding="utf-8"))
    for group in tree["groups"]:
        _shorten(group, ("interval",), by)
        for rule in group["rules"]:
            _shorten(rule, ("for", "keep_firing_for"), by)
            rule["expr"] = re.sub(r"\[[^\]]+\]", lambda found: divided(found[0], by), str(rule["expr"]))
    file = folder / f"shortened-{rules.stem}.json"
    file.write_text(json.dumps(tree))  # JSON is YAML
    return file


def _shorten(tree: dict[str, Tree], names: Sequence[str], by: float) -> None:
    tree |= {name: divided(str(tree[name]), by) for name in names if name in tree}


def divided(text: str, by: float) -> str:
    """A text with each duration in it divided; none becomes less than a millisecond."""
    return DURATION.sub(lambda found: f"{max(1, round(int(found[1]) * SECONDS[found[2]] * 1000 / by))}ms", text)


def needs(program: str, package: str) -> str:
    """The path of a program. Skips the test where it is not installed; in continuous integration that is a failure."""
    found = shutil.which(program)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"install the Debian package {package}: it has {program}"
        )
    return str(found)


class _Service:
    """A program that listens on a free port, which it has told in its log."""

    def __init__(self, program: tuple[str, str], folder: Path, options: Sequence[str], config: Config) -> None:
        self._config, self._log = folder / f"{program[0]}.json", folder / f"{program[0]}.log"
        self._config.write_text(json.dumps(config))
        told = (f"--config.file={self._config}", "--web.listen-address=127.0.0.1:0")
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [needs(*program), *told, *options], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
            )

    @property
    def address(self) -> str:
        found = LISTENS.search(self._log.read_text())
        return found[1] if found else ""

    async def started(self) -> None:
        await until(lambda: self.address != "" or self._process.poll() is not None)
        assert self.address, self._log.read_text()
        async with aiohttp.ClientSession() as session:

            async def is_ready() -> bool:
                async with session.get(f"http://{self.address}/-/ready") as reply:
                    return reply.status == 200

            await until(is_ready)

    def configure(self, config: Config) -> None:
        """Have it go on with another configuration."""
        self._config.write_text(json.dumps(config))
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """What it has stored is worth nothing any more."""
        self._process.kill()
        self._process.wait()


@asynccontextmanager
async def _serving(
    program: tuple[str, str], folder: Path, config: Config, options: Sequence[str]
) -> AsyncIterator[_Service]:
    service = _Service(program, folder, options, config)
    try:
        await service.started()
        yield service
    finally:
        service.kill()
