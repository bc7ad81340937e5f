"""The operator's pod: commands work in it where they are refused to the agents' user, and it ends at once."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from ruamel.yaml import YAML

from connectors.sandbox.octorate import CLIENT_SECRET, REFRESH_TOKEN
from events.jetstream import streams
from events.jetstream.connection import connect
from events.jetstream.options import BusOptions
from events.jetstream.read import held
from schemas.envelope import decode
from schemas.settings import Secret
from tests.agent.command import here
from tests.agent.harness import NAMES, SECRET, octorate, until
from tests.agent.past import commit, house
from tests.helm import users
from tests.helm.chart import RELEASE, agent, example, files, merged, only, render
from tests.helm.container import Image
from tests.nats import NatsServer

OPERATOR = f"{RELEASE}-operator"
MOUNTED = "/etc/vendorwire/secrets"
VALUES = {
    "config": {
        "bus": {"user": "agent", "password": f"${{file:{MOUNTED}/nats/agent}}"},
        "accounts": [
            octorate("hotel", "https://api.example.com")
            | {name: f"${{file:{MOUNTED}/octorate/{name}}}" for name in ("client_secret", "refresh_token")}
        ],
        "routes": [{**example("small")["config"]["routes"][0], "events": ["property.*"]}],
    },
    "secrets": ["nats", "octorate", "vendorwire-crm"],
    "operator": {
        "enabled": True,
        "bus": {"user": "operator", "password": f"${{file:{MOUNTED}/nats-operator/password}}"},
        "secrets": ["nats-operator"],
    },
}
FILES = {
    "nats/agent": users.password("agent"),
    "nats-operator/password": users.password("operator"),
    "octorate/client_secret": CLIENT_SECRET,
    "octorate/refresh_token": REFRESH_TOKEN,
    "vendorwire-crm/secret": SECRET,
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with users.started(tmp_path / "nats") as running:
        yield running


def test_commands_work_in_it_and_what_they_change_is_refused_as_the_agents_sign_in(
    server: NatsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = anyio.run(told, server)
    manifests = render(merged(example("small"), VALUES))
    changing = ("poll hotel property", "replay crm --since 1d --yes")
    for words in ("dead list", f"explain {event}", *changing):
        for name in (OPERATOR, RELEASE):
            file = config_in(tmp_path, only(manifests, "ConfigMap", name)["data"]["vendorwire.yaml"], server)
            ran = here(capsys, "--config", str(file), *words.split())
            if name == OPERATOR or words not in changing:
                assert ran.status == 0, (words, ran)
            else:
                assert ran.status != 0, (words, ran)
                assert "the NATS user may not" in ran.err, (words, ran)


async def told(server: NatsServer) -> str:
    """An event of an agent; its id."""
    sign_in = BusOptions(urls=[server.url], user="agent", password=Secret(users.password("agent")))
    async with connect(sign_in, lambda _: None) as bus:
        await bus.ready()
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        await commit(bus, house("a"))
        (message,) = [each async for each in held(bus, NAMES.ledger, [NAMES.events], every=True)]
    return decode(message.data).id


def config_in(folder: Path, text: str, server: NatsServer) -> Path:
    """The rendered configuration on this machine, its secrets beside it."""
    for name, content in FILES.items():
        file = folder / "secrets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    config = folder / "vendorwire.yaml"
    config.write_text(text.replace("nats://nats:4222", server.url).replace(MOUNTED, str(folder / "secrets")))
    return config


def test_its_configuration_is_the_agents_but_for_how_it_signs_in() -> None:
    signing_in = dict.fromkeys(("credentials", "user", "password", "token", "nkey"), "${file:/agent}")
    bus = {**signing_in, "inbox_prefix": "_INBOX.agent", "tls": {"cert": "/agent.crt", "ca": "/ca.crt"}, "replicas": 5}
    operator = {"enabled": True, "bus": {"tls": {"cert": "/operator.crt"}}}
    manifests = render(merged(example("small"), {"config": {"bus": bus}, "operator": operator}))
    agents, own = (configuration(manifests, name) for name in (RELEASE, OPERATOR))
    assert own == {
        **agents,
        "bus": {
            "url": "nats://nats:4222",
            "replicas": 5,
            "inbox_prefix": "_INBOX.operator",
            "tls": {"cert": "/operator.crt", "ca": "/ca.crt"},
        },
    }


def configuration(manifests: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(only(manifests, "ConfigMap", name)["data"]["vendorwire.yaml"])
    return found


@pytest.mark.parametrize("name", ["production", "hardened"])
def test_it_has_what_the_agents_have_and_they_do_not_have_its_secret(name: str) -> None:
    manifests = render(example(name))
    own = agent(manifests, OPERATOR)
    for each in manifests:
        if each["kind"] != "Deployment" or each["metadata"]["name"] == OPERATOR:
            continue
        spec = each["spec"]["template"]["spec"]
        assert secrets(own) - secrets(spec) == {"vendorwire-nats-operator"}
        assert secrets(spec) <= secrets(own)
        for key in ("env", "image", "securityContext"):
            assert own["containers"][0][key] == spec["containers"][0][key]


def secrets(spec: Mapping[str, Any]) -> set[str]:
    return {each["secret"]["secretName"] for each in spec["volumes"] if "secret" in each}


def test_a_changed_sign_in_rolls_its_pod_and_no_other() -> None:
    def checksums(user: str) -> list[str]:
        manifests = render(merged(example("production"), {"operator": {"bus": {"user": user}}}))
        templates = [only(manifests, "Deployment", name)["spec"]["template"] for name in (RELEASE, OPERATOR)]
        return [each["metadata"]["annotations"]["checksum/config"] for each in templates]

    (agents, own), (agents_then, own_then) = checksums("a"), checksums("b")
    assert agents == agents_then
    assert own != own_then


def test_it_may_have_a_config_map_of_ones_own() -> None:
    values = {"existingConfigMap": "mine", "operator": {"enabled": True, "existingConfigMap": "operators"}}
    spec = agent(render(values), OPERATOR)
    assert [each["configMap"]["name"] for each in spec["volumes"] if "configMap" in each] == ["operators"]


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert OPERATOR not in {each["metadata"]["name"] for each in render(example("small"))}


def test_the_notes_say_how_commands_are_run() -> None:
    command = "kubectl -n integrations exec -it deploy/vendorwire-operator -- vendorwire dead list"
    assert command in files(example("production"))["templates/NOTES.txt"]
    assert command not in files(example("small"))["templates/NOTES.txt"]
    assert "operator.enabled" in files(example("small"))["templates/NOTES.txt"]


@pytest.mark.anyio
@pytest.mark.timeout(300)  # it may have to wait for the image to be built
async def test_it_waits_in_the_image_and_ends_when_told_though_it_is_the_first_process(
    image: Image, tmp_path: Path
) -> None:
    (program, *words) = agent(render(example("production")), OPERATOR)["containers"][0]["command"]
    first = ["unshare", "--pid", "--fork", *image.confined(tmp_path, program), *words]
    with subprocess.Popen(first) as outer:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                await to_thread.run_sync(lambda: outer.wait(timeout=1))
            await until(lambda: ended(outer, str(image.prefix / "bin" / program)))
            assert outer.returncode == 0
        finally:
            tell(outer, signal.SIGKILL)


def ended(outer: "subprocess.Popen[bytes]", program: str) -> bool:
    """Whether it has; its child is told to, once it is the program. Before that has asked for the signal, it does nothing."""
    tell(outer, signal.SIGTERM, program)
    return outer.poll() is not None


def tell(outer: "subprocess.Popen[bytes]", number: signal.Signals, program: str = "") -> None:
    """Send a signal to the child, which is the first of its processes, if that has become a program."""
    with suppress(OSError, ValueError):  # it comes, or has gone
        child = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text())
        if Path(f"/proc/{child}/cmdline").read_text().startswith(program):
            os.kill(child, number)
