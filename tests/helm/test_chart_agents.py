"""The Deployments that the chart makes: their configuration, their secrets, their number, and who finds them."""

import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from events.signing import generate
from tests.agent.command import vendorwire
from tests.helm.chart import EXAMPLES, RELEASE, agent, example, merged, only, render
from tests.helm.test_chart import SEPARATE, SWITCHES

SECRETS = "/etc/vendorwire/secrets"
KEY = b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("name", "config_map"),
    [
        *((name, RELEASE) for name in EXAMPLES),
        ("production", f"{RELEASE}-operator"),
        ("hardened", f"{RELEASE}-operator"),
    ],
)
def test_the_command_takes_the_configuration_of_each_example(name: str, config_map: str, tmp_path: Path) -> None:
    manifests = render(example(name))
    text = only(manifests, "ConfigMap", config_map)["data"]["vendorwire.yaml"]
    for path in re.findall(rf"{SECRETS}/([^/\s]+/[^}}\s]+)", text):
        file = tmp_path / "secrets" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(generate())
    (tmp_path / "vendorwire.yaml").write_text(text.replace(SECRETS, str(tmp_path / "secrets")))
    env = {each["name"]: KEY for each in only(manifests, "Pod")["spec"]["containers"][0]["env"]}
    ran = vendorwire("check", "--offline", cwd=tmp_path, env={**env, "VENDORWIRE_CONFIG": "vendorwire.yaml"})
    assert ran.status == 0, ran


def test_the_configuration_stays_as_it_was_written() -> None:
    values = merged(
        example("small"),
        {"config": {"bus": {"max_bytes": 10_000_000_000, "prefix": "on"}, "defaults": {"deletes": {"max_ratio": 0.2}}}},
    )
    text = only(render(values), "ConfigMap")["data"]["vendorwire.yaml"]
    assert "max_bytes: 10000000000\n" in text
    assert "max_ratio: 0.2\n" in text
    assert 'prefix: "on"\n' in text
    assert "client_secret: ${file:/etc/vendorwire/secrets/vendorwire-cottages/client-secret}\n" in text
    assert "listen: 0.0.0.0:8787\n" in text


def test_secrets_are_files_where_the_configuration_looks_for_them() -> None:
    spec = agent(render(example("production")))
    mounts = {each["name"]: each["mountPath"] for each in spec["containers"][0]["volumeMounts"]}
    found = {mounts[each["name"]]: each["secret"] for each in spec["volumes"] if "secret" in each}
    assert found == {
        f"{SECRETS}/{name}": {"secretName": name, "defaultMode": 0o440}
        for name in ("vendorwire-nats", "vendorwire-octorate", "vendorwire-carbontrack", "vendorwire-crm")
    }
    assert all(each["readOnly"] for each in spec["containers"][0]["volumeMounts"])


def test_secrets_are_readable_where_the_platform_chooses_the_group() -> None:
    spec = agent(render(merged(example("small"), SWITCHES["openshift"])))
    assert {each["secret"]["defaultMode"] for each in spec["volumes"] if "secret" in each} == {0o444}


def test_the_key_to_the_tokens_comes_from_a_secret() -> None:
    spec = agent(render(example("hardened")), f"{RELEASE}-poll")
    (key,) = [each for each in spec["containers"][0]["env"] if each["name"] == "VENDORWIRE_KEY"]
    assert key["valueFrom"] == {"secretKeyRef": {"name": "tokenkey", "key": "keys"}}


def test_a_changed_configuration_rolls_the_pods_and_nothing_else_does() -> None:
    def checksum(*values: Mapping[str, Any]) -> str:
        deployment = only(render(merged(example("small"), *values)), "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum({"replicas": 5})
    assert checksum() != checksum({"config": {"grace": "7s"}})
    assert checksum() != checksum({"port": 9000})


def test_annotations_of_ones_own_do_not_replace_those_of_the_chart() -> None:
    own = {"podAnnotations": {"checksum/config": "x", "prometheus.io/port": "1", "a": "b"}, "scrapeAnnotations": True}
    plain = only(render(merged(example("small"), {"scrapeAnnotations": True})), "Deployment")["spec"]["template"]
    found = only(render(merged(example("small"), own)), "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert found == {**plain["metadata"]["annotations"], "a": "b"}


def test_a_config_map_of_ones_own_takes_the_place_of_config() -> None:
    manifests = render({"existingConfigMap": "mine", "secrets": ["a"]})
    assert "ConfigMap" not in {each["kind"] for each in manifests}
    (config,) = [each for each in agent(manifests)["volumes"] if each["name"] == "config"]
    assert config["configMap"] == {"name": "mine"}


def test_one_deployment_does_both_unless_the_roles_are_apart() -> None:
    assert agent(render(example("small")))["containers"][0]["args"] == ["run"]
    manifests = render(example("hardened"))
    for role in ("poll", "route"):
        assert agent(manifests, f"{RELEASE}-{role}")["containers"][0]["args"] == ["run", "--roles", role]


def test_each_role_has_its_own_size_and_pods() -> None:
    large = {"cpu": "1", "memory": "1Gi"}
    roles = {"poll": {"replicas": 3}, "route": {"replicas": 0, "resources": {"requests": large, "limits": large}}}
    manifests = render(merged(example("small"), SEPARATE, {"separateRoles": roles}))
    poll, route = (only(manifests, "Deployment", f"{RELEASE}-{role}")["spec"] for role in ("poll", "route"))
    assert (poll["replicas"], route["replicas"]) == (3, 0)
    assert route["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
    assert poll["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "512Mi"
    assert poll["selector"] != route["selector"]


def test_selectors_find_the_pods_they_are_for() -> None:
    for name in EXAMPLES:
        manifests = render(example(name))
        deployments = [each for each in manifests if each["kind"] == "Deployment"]
        pods = {each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in deployments}
        agents = pods.keys() - {f"{RELEASE}-operator"}
        pods["check"] = only(manifests, "Pod")["metadata"]["labels"]
        for each in deployments:
            assert _matched(each["spec"]["selector"]["matchLabels"], pods) == {each["metadata"]["name"]}
        assert _matched(only(manifests, "Service")["spec"]["selector"], pods) == agents
        for policy, found in ((RELEASE, pods.keys()), (f"{RELEASE}-http", agents)):
            selector = only(manifests, "NetworkPolicy", policy)["spec"]["podSelector"]["matchLabels"]
            assert _matched(selector, pods) == found
        budgets = [each for each in manifests if each["kind"] == "PodDisruptionBudget"]
        assert {each["metadata"]["name"] for each in budgets} == agents
        for budget in budgets:
            assert _matched(budget["spec"]["selector"]["matchLabels"], pods) == {budget["metadata"]["name"]}


def _matched(selector: Mapping[str, str], labels: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {name for name, each in labels.items() if selector.items() <= each.items()}


def test_pods_are_replaced_one_by_one_and_none_is_missed() -> None:
    assert only(render(example("small")), "Deployment")["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }


def test_agents_are_spread_over_nodes_and_zones() -> None:
    spread = agent(render(example("production")))["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]


def test_an_autoscaler_chooses_the_number_of_agents_alone() -> None:
    manifests = render(merged(example("small"), SWITCHES["autoscaling"]))
    assert "replicas" not in only(manifests, "Deployment")["spec"]
    scaler = only(manifests, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"], scaler["scaleTargetRef"]["name"]) == (2, 5, RELEASE)


def test_no_more_agents_deliver_than_there_are_routes() -> None:
    routes = [{**example("small")["config"]["routes"][0], "name": name} for name in ("a", "b", "c")]
    scaled = merged(example("small"), SWITCHES["separate autoscaling"], {"config": {"routes": routes}})
    assert only(render(scaled), "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 3
    manifests = render(merged(example("small"), SWITCHES["keda"], {"config": {"routes": routes}}))
    assert only(manifests, "ScaledObject")["spec"]["maxReplicaCount"] == 3
    assert "replicas" not in only(manifests, "Deployment", f"{RELEASE}-route")["spec"]
    assert only(manifests, "Deployment", f"{RELEASE}-poll")["spec"]["replicas"] == 2
