"""Every pod that the chart makes stands up to Pod Security "restricted", stops in good order, and reaches what it must."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from itertools import pairwise
from typing import Any

import helm_python
import pytest

from agent.config import Config
from agent.http import READY_WITHIN
from events import addresses
from events.addresses import Reach, reach
from tests.helm.chart import EXAMPLES, RELEASE, agent, example, merged, only, pods, render
from tests.helm.hardening import Spec, objections

HUNG_BUS = 3  # seconds to leave a bus that hangs, as docs/operations.md has it
OPENSHIFT = {"security": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}


def harmless(**changes: Any) -> Spec:
    """A pod spec without objections, but for the changes."""
    return {**agent(render(example("small"))), **changes}


def container(**changes: Any) -> Spec:
    (one,) = harmless()["containers"]
    return harmless(containers=[{**one, **changes}])


BAD: dict[str, Callable[[], Spec]] = {
    "host network": lambda: harmless(hostNetwork=True),
    "host processes": lambda: harmless(hostPID=True),
    "token": lambda: harmless(automountServiceAccountToken=True),
    "root": lambda: harmless(securityContext={**harmless()["securityContext"], "runAsUser": 0}),
    "perhaps root": lambda: harmless(securityContext={**harmless()["securityContext"], "runAsNonRoot": False}),
    "seccomp": lambda: harmless(
        securityContext={**harmless()["securityContext"], "seccompProfile": {"type": "Unconfined"}}
    ),
    "host path": lambda: harmless(volumes=[{"name": "a", "hostPath": {"path": "/"}}]),
    "empty dir": lambda: harmless(volumes=[{"name": "a", "emptyDir": {}}]),
    "privileged": lambda: container(securityContext={**_rights(), "privileged": True}),
    "escalation": lambda: container(securityContext={**_rights(), "allowPrivilegeEscalation": True}),
    "writable root": lambda: container(securityContext={**_rights(), "readOnlyRootFilesystem": False}),
    "capabilities": lambda: container(
        securityContext={**_rights(), "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}
    ),
    "no rights said": lambda: container(securityContext={}),
    "no limits": lambda: container(resources={"requests": {"cpu": 1, "memory": 1}}),
    "no tag": lambda: container(image="vendorwire"),
    "latest": lambda: container(image="vendorwire:latest"),
    "probe by shell": lambda: container(livenessProbe={"exec": {"command": ["true"]}}),
    "shell": lambda: container(command=["/bin/sh", "-c", "true"]),
    "host port": lambda: container(ports=[{"containerPort": 1, "hostPort": 1}]),
    "an init container": lambda: harmless(initContainers=[{"name": "init", "image": "a:1"}]),
}


def _rights() -> dict[str, Any]:
    rights: dict[str, Any] = harmless()["containers"][0]["securityContext"]
    return rights


@pytest.mark.parametrize("name", BAD)
def test_the_check_of_pods_objects_to(name: str) -> None:
    assert objections(BAD[name]())


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_pod_of_each_example_is_hardened(name: str) -> None:
    found = dict(pods(render(example(name))))
    assert len(found) >= 2
    assert {which: objections(spec) for which, spec in found.items() if objections(spec)} == {}


def test_where_the_platform_chooses_ids_none_is_named() -> None:
    for _, spec in pods(render(merged(example("small"), OPENSHIFT))):
        assert objections(spec, ids=False) == []


def test_the_service_account_has_no_token() -> None:
    assert only(render(example("small")), "ServiceAccount")["automountServiceAccountToken"] is False


def test_the_agent_has_no_folder_to_write_to() -> None:
    for name in EXAMPLES:
        for _, spec in pods(render(example(name))):
            assert {key for volume in spec["volumes"] for key in volume} == {"name", "configMap", "secret"}


def test_the_probes_differ_in_what_they_ask_and_how_soon_they_give_up() -> None:
    (one,) = agent(render(example("small")))["containers"]
    probes = [one[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
    startup, liveness, readiness = probes
    assert [each["httpGet"]["path"] for each in probes] == ["/livez", "/livez", "/readyz"]
    assert len({each["periodSeconds"] * each["failureThreshold"] for each in probes}) == 3
    assert (
        liveness["periodSeconds"] * liveness["failureThreshold"]
        > readiness["periodSeconds"] * readiness["failureThreshold"]
    )
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


def test_readiness_is_waited_for_as_long_as_the_agent_takes_to_say_no() -> None:
    (one,) = agent(render(example("small")))["containers"]
    assert one["readinessProbe"]["timeoutSeconds"] > READY_WITHIN
    assert one["readinessProbe"]["periodSeconds"] > one["readinessProbe"]["timeoutSeconds"]


@pytest.mark.parametrize(
    ("grace", "seconds"), [("6s", 6), ("500ms", 1), ("1m30s", 90), ("2m", 120), ("1.5s", 2), ("", 6)]
)
@pytest.mark.parametrize("pre_stop", [0, 5])
def test_a_pod_is_given_longer_to_stop_than_the_agent_takes(grace: str, seconds: int, pre_stop: int) -> None:
    values = merged(example("small"), {"preStopSeconds": pre_stop}, {"config": {"grace": grace}} if grace else {})
    spec = agent(render(values))
    assert spec["terminationGracePeriodSeconds"] == seconds + HUNG_BUS + pre_stop + 6
    assert spec["containers"][0].get("lifecycle") == (
        {"preStop": {"sleep": {"seconds": pre_stop}}} if pre_stop else None
    )


def test_the_chart_and_the_agent_mean_the_same_grace() -> None:
    assert Config(accounts=()).grace.total_seconds() == 6


def test_a_budget_lets_one_agent_go_at_a_time_and_never_holds_up_a_drain() -> None:
    for budget in [each for each in render(example("hardened")) if each["kind"] == "PodDisruptionBudget"]:
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def policy(*values: dict[str, Any], name: str = RELEASE) -> dict[str, Any]:
    spec: dict[str, Any] = only(render(merged(example("small"), *values)), "NetworkPolicy", name)["spec"]
    return spec


def test_the_network_policy_denies_both_directions() -> None:
    assert policy()["policyTypes"] == ["Ingress", "Egress"]
    closed = merged(example("small"), {"networkPolicy": {"monitoring": [], "dns": [], "https": {"enabled": False}}})
    spec = only(render(closed), "NetworkPolicy")["spec"]
    assert spec["ingress"] == []
    assert spec["egress"] == [{"ports": [{"port": 4222, "protocol": "TCP"}]}]


def test_only_the_monitoring_namespace_comes_in_and_only_to_the_agents_http() -> None:
    assert policy()["ingress"] == []
    (rule,) = policy(name=f"{RELEASE}-http")["ingress"]
    assert rule["ports"] == [{"port": 8787, "protocol": "TCP"}]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_the_console_is_opened_to_those_named() -> None:
    ingress = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}
    (rule,) = policy({"networkPolicy": {"console": [ingress]}}, name=f"{RELEASE}-http")["ingress"]
    assert rule["from"][1:] == [ingress]


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("nats://nats:4222", [4222]),
        ("nats://nats", [4222]),
        ("wss://nats:8443/ws", [8443]),
        (["nats://a:4222", "nats://b:4222", "tls://[::1]:4333"], [4222, 4333]),
    ],
)
def test_the_bus_is_reached_at_the_ports_of_its_urls(url: str | list[str], ports: list[int]) -> None:
    rule = policy({"config": {"bus": {"url": url}}})["egress"][1]
    assert [each["port"] for each in rule["ports"]] == ports


def test_the_bus_is_reached_where_it_is_said_to_be_only() -> None:
    spec = only(render(example("hardened")), "NetworkPolicy", RELEASE)["spec"]
    assert spec["egress"][1]["to"] == example("hardened")["networkPolicy"]["bus"]["to"]


@pytest.mark.parametrize(
    ("url", "network"),
    [
        ("wss://nats.example.com:443", {}),
        ("ws://nats.example.com:80", {}),
        (["nats://a:4222", "tls://b:8443"], {"https": {"ports": [443, 8443]}}),
        ("nats://a:4222", {"bus": {"ports": [443]}}),
    ],
)
def test_a_bus_at_a_port_of_the_web_is_not_looked_for_everywhere(url: str | list[str], network: dict[str, Any]) -> None:
    values = {"config": {"bus": {"url": url}}, "networkPolicy": network}
    with pytest.raises(helm_python.HelmRenderError, match=r"bus\.to is empty, and the bus is at port"):
        policy(values)
    assert policy(values, {"networkPolicy": {"bus": {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}]}}})
    assert render(merged(example("small"), values, {"networkPolicy": {"enabled": False}}))


def test_names_are_looked_up_where_and_at_the_ports_that_are_said() -> None:
    openshift = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}
    assert policy({"networkPolicy": {"dns": [openshift], "dnsPorts": [5353]}})["egress"][0] == {
        "to": [openshift],
        "ports": [{"port": 5353, "protocol": "UDP"}, {"port": 5353, "protocol": "TCP"}],
    }


def test_https_leads_to_the_addresses_that_the_agent_dials_and_to_no_others() -> None:
    rule = policy()["egress"][2]
    assert rule["ports"] == [{"port": 443, "protocol": "TCP"}]
    four, six = (peer["ipBlock"] for peer in rule["to"])
    assert (four["cidr"], six["cidr"]) == ("0.0.0.0/0", "2000::/3")
    refused = [IPv4Network(each) for each in four["except"]]
    for address in _edges([*refused, *addresses._PRIVATE_4, *addresses._NEVER_4]):
        assert (reach(address) is Reach.PUBLIC) == all(address not in net for net in refused), address
    barred = [IPv6Network(each) for each in six["except"]]
    assert all(each.subnet_of(IPv6Network(six["cidr"])) for each in barred)
    assert all(reach(each[0]) is Reach.NEVER and reach(each[-1]) is Reach.NEVER for each in barred)


def _edges(networks: list[IPv4Network]) -> Iterator[IPv4Address]:
    """The first and the last address of each network, and those just beside it."""
    for net in networks:
        yield from (net[0], net[-1])
        yield from (each for each in (_moved(net[0], -1), _moved(net[-1], 1)) if each)


def _moved(address: IPv4Address, by: int) -> IPv4Address | None:
    number = int(address) + by
    return IPv4Address(number) if 0 <= number < 1 << 32 else None


def test_the_networks_left_out_do_not_overlap() -> None:
    left_out = sorted(IPv4Network(each) for each in policy()["egress"][2]["to"][0]["ipBlock"]["except"])
    assert not any(one.overlaps(other) for one, other in pairwise(left_out))


def test_further_egress_is_added_as_it_is_written() -> None:
    spec = only(render(example("hardened")), "NetworkPolicy", RELEASE)["spec"]
    assert spec["egress"][-1] == {
        "to": [{"ipBlock": {"cidr": "10.20.30.0/28"}}],
        "ports": [{"port": 8443, "protocol": "TCP"}],
    }
