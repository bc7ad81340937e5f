"""An agent lives as the chart says: on the rendered configuration, asked by the rendered probes, ended within its grace."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connectors.sandbox.ipro import CLIENT_ID, CLIENT_SECRET, IproSandbox
from connectors.sandbox.serve import serve
from tests.agent.harness import SECRET, Process, until
from tests.helm.chart import RELEASE, agent, example, merged, only, render
from tests.nats import start_nats

pytestmark = pytest.mark.anyio

MOUNTED = "/etc/vendorwire/secrets"
SECRETS = {
    "vendorwire-cottages/client-id": CLIENT_ID,
    "vendorwire-cottages/client-secret": CLIENT_SECRET,
    "vendorwire-crm/secret": SECRET,
}


async def test_an_agent_answers_the_probes_and_stops_within_its_grace_though_the_bus_hangs(tmp_path: Path) -> None:
    """Only addresses, and where secrets are, differ from what a cluster would give it."""
    async with serve(IproSandbox()) as vendor:
        with start_nats(tmp_path / "nats") as nats:
            places = {
                "nats://nats:4222": nats.url,
                "https://cottages.example.com": vendor,
                "0.0.0.0:8787": "127.0.0.1:0",
            }
            manifests = render(merged(example("small"), {"config": {"grace": "1s"}}))
            text = only(manifests, "ConfigMap", RELEASE)["data"]["vendorwire.yaml"]
            process = Process(config_in(tmp_path, text, places), tmp_path / "agent.log")
            try:
                spec = agent(manifests)
                startup, liveness, readiness = probed(spec)
                for path in (startup, liveness, readiness):
                    await until(partial(answers, process, path, 200))
                nats.pause()
                await until(lambda: answers(process, readiness, 503))
                assert await answers(process, liveness, 200)
                status, seconds = await process.end()
                assert status == 0, process.log
                assert seconds < spec["terminationGracePeriodSeconds"]
            finally:
                process.kill()


def config_in(folder: Path, text: str, places: dict[str, str]) -> Path:
    """The rendered configuration on this machine, its secrets beside it."""
    for name, content in SECRETS.items():
        file = folder / "secrets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    for place, here in {**places, MOUNTED: str(folder / "secrets")}.items():
        assert place in text
        text = text.replace(place, here)
    config = folder / "vendorwire.yaml"
    config.write_text(text)
    return config


def probed(spec: dict[str, Any]) -> list[str]:
    (container,) = spec["containers"]
    return [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]


async def answers(process: Process, path: str, status: int) -> bool:
    return (await process.get(path))[0] == status
