"""The chart vendorwire: every value set and every switch gives objects that the newest releases of Kubernetes take."""

import tomllib
from collections.abc import Mapping
from typing import Any

import helm_python
import pytest

from tests.helm.chart import CHART, EXAMPLES, NEWEST, RELEASE, ROOT, agent, example, fault, files, merged, only, render
from tests.helm.chart import UMBRELLA as WITH_NATS

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
    "operator": {"operator": {"enabled": True, "bus": {"user": "x"}}, "podLabels": {"a": "b"}},
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
    assert "kubectl -n integrations port-forward service/vendorwire 8787" in notes
    assert "enforces" in notes
    assert "vendorwire-cottages, vendorwire-crm, tokenkey" in notes
    assert (
        "There is no NetworkPolicy"
        in files(merged(example("small"), SWITCHES["no network policy"]))["templates/NOTES.txt"]
    )
    mine = files({"existingConfigMap": "mine"})["templates/NOTES.txt"]
    assert "rollout restart" in mine
    assert "tokenKey.secretName is empty" in mine
