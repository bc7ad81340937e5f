"""The chart vendorwire: every value set and every switch gives objects that the newest releases of Kubernetes take."""

import re
import tomllib
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import pytest

from events.signing import generate
from tests.agent.command import vendorwire
from tests.helm.chart import CHART, EXAMPLES, NEWEST, RELEASE, ROOT, agent, example, fault, files, merged, only, render
from tests.helm.chart import UMBRELLA as WITH_NATS

SECRETS = "/etc/vendorwire/secrets"
KEY = b64encode(bytes(32)).decode()
SEPARATE = {"separateRoles": {"enabled": True}}
PEER = {"namespaceSelector": {"matchLabels": {"team": "x"}}}
SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "names": {
        "nameOverride": "vw",
        "fullnameOverride": "events",
        "commonLabels": {"team": "x"},
        "podLabels": {"a": "b"},
    },
    "image": {
        "image": {"repository": "images/vw", "tag": "1.2.3", "digest": f"sha256:{'0' * 64}", "pullSecrets": ["x"]}
    },
    "autoscaling": {"autoscaling": {"enabled": True}},
    "separate": SEPARATE,
    "separate autoscaling": {
        "separateRoles": {"enabled": True, "route": {"autoscaling": {"enabled": True, "minReplicas": 1}}}
    },
    "keda": merged(SEPARATE, {"keda": {"enabled": True, "prometheusUrl": "http://prometheus:9090", "minReplicas": 0}}),
    "no replicas": {"replicas": 0},
    "openshift": {"security": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}},
    "foreign account": {"serviceAccount": {"create": False, "name": "other", "annotations": {"a": "b"}}},
    "service": {"service": {"labels": {"a": "b"}, "annotations": {"a": "b"}}, "commonLabels": {"a": "c"}},
    "port": {"port": 9000, "listenOn": "[::]"},
    "environment": {"env": [{"name": "ZONE", "value": "eu"}]},
    "annotations": {"scrapeAnnotations": True, "podAnnotations": {"a": "b"}},
    "monitoring": {
        "serviceMonitor": {
            "enabled": True,
            "labels": {"release": "p"},
            "metricRelabelings": [{"action": "labeldrop", "regex": "x"}],
        },
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "no budget": {"podDisruptionBudget": {"enabled": False}},
    "budget in per cent": {"podDisruptionBudget": {"maxUnavailable": "50%"}},
    "no network policy": {"networkPolicy": {"enabled": False}},
    "network peers": {
        "networkPolicy": {
            "monitoring": [],
            "console": [PEER],
            "dns": [PEER],
            "bus": {"to": [PEER], "ports": [4222, 4223]},
            "https": {"ports": [443, 8443]},
            "extraEgress": [{"to": [PEER], "ports": [{"port": 80, "protocol": "TCP"}]}],
        }
    },
    "nobody may call": {"networkPolicy": {"monitoring": [], "https": {"enabled": False}, "dns": []}},
    "stopping": {"preStopSeconds": 5, "terminationGracePeriodSeconds": 60},
    "placing": {
        "topologySpread": {"keys": []},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
    },
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_chart_passes_strict_lint_with_each_example(name: str) -> None:
    report = helm_python.lint(CHART, example(name), strict=True, kube_version=f"v{NEWEST[-1]}.0")
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []


def test_the_chart_passes_strict_lint_by_itself() -> None:
    assert helm_python.lint(CHART, strict=True)["errors"] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_two_newest_releases_of_kubernetes_take_each_example(name: str) -> None:
    assert [fault(each, version) for each in render(example(name)) for version in NEWEST if fault(each, version)] == []


@pytest.mark.parametrize("switch", SWITCHES)
def test_the_two_newest_releases_of_kubernetes_take_what_each_switch_gives(switch: str) -> None:
    manifests = render(merged(example("small"), SWITCHES[switch]))
    assert [fault(each, version) for each in manifests for version in NEWEST if fault(each, version)] == []


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_changes_something(switch: str) -> None:
    assert render(merged(example("small"), SWITCHES[switch])) != render(example("small"))


def test_what_kubernetes_does_not_know_is_found() -> None:
    manifest = only(render(example("small")), "Deployment")
    manifest["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert "readynessProbe" in fault(manifest, NEWEST[-1])


def test_nothing_is_installed_outside_the_namespace_or_for_the_whole_cluster() -> None:
    manifests = [each for name in EXAMPLES for each in render(example(name))]
    assert {each["metadata"].get("namespace") for each in manifests} == {"integrations"}
    assert not {each["kind"] for each in manifests} & {
        "Role",
        "ClusterRole",
        "RoleBinding",
        "ClusterRoleBinding",
        "Secret",
    }


def test_the_chart_installs_the_release_it_belongs_to() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for chart in (CHART, WITH_NATS):
        with helm_python.Chart.load(chart) as loaded:
            assert (loaded.metadata["appVersion"], loaded.version) == (version, version)
    assert agent(render(example("small")))["containers"][0]["image"] == f"vendorwire:{version}"


def test_a_digest_says_which_image_runs() -> None:
    spec = agent(render(merged(example("small"), SWITCHES["image"])))
    assert spec["containers"][0]["image"] == f"images/vw:1.2.3@sha256:{'0' * 64}"
    assert spec["imagePullSecrets"] == [{"name": "x"}]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_command_takes_the_configuration_of_each_example(name: str, tmp_path: Path) -> None:
    manifests = render(example(name))
    text = only(manifests, "ConfigMap", RELEASE)["data"]["vendorwire.yaml"]
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
        labels = {each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in deployments}
        check = only(manifests, "Pod")["metadata"]["labels"]
        for each in deployments:
            assert _matched(each["spec"]["selector"]["matchLabels"], labels) == {each["metadata"]["name"]}
        assert _matched(only(manifests, "Service")["spec"]["selector"], {**labels, "check": check}) == set(labels)
        policy = only(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
        assert _matched(policy, {**labels, "check": check}) == {*labels, "check"}
        for budget in (each for each in manifests if each["kind"] == "PodDisruptionBudget"):
            assert _matched(budget["spec"]["selector"]["matchLabels"], labels) == {budget["metadata"]["name"]}


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


def test_helm_test_runs_the_check_as_the_agents_run() -> None:
    manifests = render(example("hardened"))
    pod, deployed = only(manifests, "Pod"), agent(manifests, f"{RELEASE}-poll")
    assert pod["metadata"]["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation",  # `helm test --logs` needs it afterwards
    }
    assert pod["spec"]["containers"][0]["args"] == ["check"]
    for key in ("env", "volumeMounts", "image", "securityContext"):
        assert pod["spec"]["containers"][0][key] == deployed["containers"][0][key]
    for key in ("volumes", "securityContext", "serviceAccountName"):
        assert pod["spec"][key] == deployed[key]


def test_helm_test_runs_on_the_nodes_that_the_agents_may_use() -> None:
    manifests = render(merged(example("small"), SWITCHES["placing"]))
    for key in ("nodeSelector", "tolerations"):
        assert only(manifests, "Pod")["spec"][key] == agent(manifests)[key] == SWITCHES["placing"][key]


def test_the_notes_tell_the_next_step() -> None:
    notes = files(example("small"))["templates/NOTES.txt"]
    assert "rollout status deployment/vendorwire" in notes
    assert "helm -n integrations test vendorwire" in notes
    assert "enforces" in notes
    assert "vendorwire-cottages, vendorwire-crm, tokenkey" in notes
    assert (
        "There is no NetworkPolicy"
        in files(merged(example("small"), SWITCHES["no network policy"]))["templates/NOTES.txt"]
    )
    mine = files({"existingConfigMap": "mine"})["templates/NOTES.txt"]
    assert "rollout restart" in mine
    assert "tokenKey.secretName is empty" in mine
