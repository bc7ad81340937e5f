"""The chart vendorwire-nats: Vendorwire beside the official NATS chart, wired to each other.

The official chart is not here: a stand-in of its name shows what it is given. Its servers are real ones.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import helm_python
import pytest
from ruamel.yaml import YAML

from agent.configfile import load
from tests.agent.harness import SECRET
from tests.helm.chart import CHART, NEWEST, UMBRELLA, Manifest, agent, example, fault, files, merged, only, render
from tests.helm.hardening import objections
from tests.helm.readme import values_shown
from tests.nats import BINARY, start_nats

OWN = {
    "vendorwire": {
        "config": {key: value for key, value in example("small")["config"].items() if key != "bus"},
        "secrets": [*example("small")["secrets"], "vendorwire-nats-agent"],
        "tokenKey": example("small")["tokenKey"],
    }
}
STAND_IN = {
    "Chart.yaml": "apiVersion: v2\nname: nats\nversion: 2.14.2\n",
    # What the official chart makes of the same values, and what it was given.
    "templates/service.yaml": """\
apiVersion: v1
kind: Service
metadata: {name: {{ .Values.fullnameOverride }}, namespace: {{ .Release.Namespace }}}
spec:
  selector: {app.kubernetes.io/name: nats, app.kubernetes.io/instance: {{ .Release.Name }}, app.kubernetes.io/component: nats}
  ports: [{name: nats, port: 4222}]
""",
    "templates/given.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata: {name: given, namespace: {{ .Release.Namespace }}}
data:
  values: {{ .Values | toJson | quote }}
""",
}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with its dependencies in place, as `helm dependency build` leaves it."""
    folder = tmp_path_factory.mktemp("umbrella") / UMBRELLA.name
    shutil.copytree(UMBRELLA, folder, ignore=shutil.ignore_patterns("charts"))
    shutil.copytree(CHART, folder / "charts" / "vendorwire")
    for name, text in STAND_IN.items():
        file = folder / "charts" / "nats" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def given(manifests: list[Manifest]) -> dict[str, Any]:
    """The values that the NATS chart gets."""
    values: dict[str, Any] = YAML(typ="safe").load(only(manifests, "ConfigMap", "given")["data"]["values"])
    return values


def test_it_passes_strict_lint(chart: Path) -> None:
    assert helm_python.lint(chart, OWN, strict=True)["errors"] == []


def test_the_newest_releases_of_kubernetes_take_it(chart: Path) -> None:
    manifests = render(OWN, chart=chart, name="vw")
    assert [fault(each, version) for each in manifests for version in NEWEST if fault(each, version)] == []


def test_its_dependencies_are_ours_from_the_checkout_and_the_official_one_by_an_alias() -> None:
    found = {each["name"]: each for each in helm_python.dependency_list(UMBRELLA)}
    with helm_python.Chart.load(CHART) as ours:
        assert (found["vendorwire"]["version"], found["vendorwire"]["repository"]) == (
            ours.version,
            "file://../vendorwire",
        )
    assert found["nats"]["repository"] == "@nats"


def test_the_agents_look_for_the_bus_where_the_servers_are(chart: Path, tmp_path: Path) -> None:
    manifests = render(OWN, chart=chart, name="vw")
    text = only(manifests, "ConfigMap", "vw-vendorwire")["data"]["vendorwire.yaml"]
    for name in re.findall(r"/etc/vendorwire/secrets/([^}\s]+)", text):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(SECRET)
    (tmp_path / "vendorwire.yaml").write_text(text.replace("/etc/vendorwire/secrets", str(tmp_path)))
    bus = load(tmp_path / "vendorwire.yaml").bus
    service = only(manifests, "Service", "vendorwire-nats")
    assert bus.servers == (f"nats://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}",)
    assert (bus.replicas, bus.user) == (3, "agent")


def test_the_operators_pod_signs_in_as_the_operator_with_a_secret_that_agents_do_not_get(chart: Path) -> None:
    manifests = render(OWN, chart=chart, name="vw")
    text = only(manifests, "ConfigMap", "vw-vendorwire-operator")["data"]["vendorwire.yaml"]
    bus = YAML(typ="safe").load(text)["bus"]
    mounts = {name: str(agent(manifests, name)["volumes"]) for name in ("vw-vendorwire", "vw-vendorwire-operator")}
    assert (bus["user"], bus["inbox_prefix"]) == ("operator", "_INBOX.operator")
    assert bus["password"] == "${file:/etc/vendorwire/secrets/vendorwire-nats-operator/password}"
    assert "vendorwire-nats-operator" in mounts["vw-vendorwire-operator"]
    assert "vendorwire-nats-operator" not in mounts["vw-vendorwire"]
    assert (
        "exec -it deploy/vw-vendorwire-operator -- vendorwire"
        in files(OWN, chart=chart, name="vw")["templates/NOTES.txt"]
    )


def test_the_exporters_port_is_opened_where_one_runs(chart: Path) -> None:
    values = merged(OWN, {"nats": {"promExporter": {"enabled": True, "port": 7778}}})
    policy = only(render(values, chart=chart, name="vw"), "NetworkPolicy", "vendorwire-nats")["spec"]
    assert [each["port"] for each in policy["ingress"][2]["ports"]] == [8222, 7778]


def test_agents_and_servers_may_reach_each_other_and_nobody_else_the_servers(chart: Path) -> None:
    manifests = render(OWN, chart=chart, name="vw")
    servers = only(manifests, "Service", "vendorwire-nats")["spec"]["selector"]
    agents = only(manifests, "Deployment", "vw-vendorwire")["spec"]["template"]["metadata"]["labels"]
    operator = only(manifests, "Deployment", "vw-vendorwire-operator")["spec"]["template"]["metadata"]["labels"]
    towards = only(manifests, "NetworkPolicy", "vw-vendorwire")["spec"]["egress"][1]["to"]
    assert [each["podSelector"]["matchLabels"].items() <= servers.items() for each in towards] == [True]
    policy = only(manifests, "NetworkPolicy", "vendorwire-nats")["spec"]
    assert policy["podSelector"]["matchLabels"] == servers
    clients, peers, monitoring = policy["ingress"]
    (allowed,) = (each["podSelector"]["matchLabels"] for each in clients["from"])
    assert all(allowed.items() <= labels.items() for labels in (agents, operator))
    assert [each["podSelector"]["matchLabels"] for each in peers["from"]] == [servers]
    assert [[each["port"] for each in rule["ports"]] for rule in (clients, peers, monitoring)] == [
        [4222],
        [6222],
        [8222],
    ]


def test_servers_look_each_other_up_where_it_is_said(chart: Path) -> None:
    values = merged(OWN, {"networkPolicy": {"dnsPorts": [5353]}})
    dns = only(render(values, chart=chart, name="vw"), "NetworkPolicy", "vendorwire-nats")["spec"]["egress"][1]
    assert dns["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    assert dns["ports"] == [{"port": 5353, "protocol": "UDP"}, {"port": 5353, "protocol": "TCP"}]


def test_agents_of_another_name_may_reach_the_servers_too(chart: Path) -> None:
    manifests = render(merged(OWN, {"vendorwire": {"nameOverride": "agents"}}), chart=chart, name="vw")
    agents = only(manifests, "Deployment", "vw-agents")["spec"]["template"]["metadata"]["labels"]
    (allowed,) = only(manifests, "NetworkPolicy", "vendorwire-nats")["spec"]["ingress"][0]["from"]
    assert allowed["podSelector"]["matchLabels"].items() <= agents.items()


def test_a_release_whose_agents_would_be_named_as_the_servers_is_refused(chart: Path) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="would both be named vendorwire-nats"):
        files(OWN, chart=chart, name="vendorwire-nats")


def test_subscribers_named_may_reach_the_bus(chart: Path) -> None:
    subscriber = {"namespaceSelector": {"matchLabels": {"team": "crm"}}}
    values = merged(OWN, {"networkPolicy": {"clients": [subscriber]}})
    policy = only(render(values, chart=chart, name="vw"), "NetworkPolicy", "vendorwire-nats")["spec"]
    assert subscriber in policy["ingress"][0]["from"]


def test_three_servers_keep_streams_on_volumes_larger_than_what_they_may_use(chart: Path) -> None:
    values = given(render(OWN, chart=chart, name="vw"))
    assert values["config"]["cluster"] == {"enabled": True, "replicas": 3}
    store = values["config"]["jetstream"]["fileStore"]
    assert (store["pvc"]["size"], store["maxSize"]) == ("20Gi", "18Gi")
    ledger = only(render(OWN, chart=chart, name="vw"), "ConfigMap", "vw-vendorwire")["data"]["vendorwire.yaml"]
    assert int(re.findall(r"max_bytes: (\d+)", ledger)[0]) < 18 * 2**30
    assert values["podDisruptionBudget"]["enabled"] is True
    assert (
        values["podTemplate"]["topologySpreadConstraints"]["kubernetes.io/hostname"]["whenUnsatisfiable"]
        == "DoNotSchedule"
    )


def test_the_servers_are_of_a_version_that_the_agent_takes(chart: Path) -> None:
    tag = given(render(OWN, chart=chart, name="vw"))["container"]["image"]["tag"]
    told = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"nats-server: v{tag}", "the tests run against another version than the chart installs"


def test_the_servers_are_as_hardened_as_the_agents(chart: Path) -> None:
    values = given(render(OWN, chart=chart, name="vw"))
    container = {
        "name": "nats",
        "image": f"nats:{values['container']['image']['tag']}",
        "resources": values["container"]["resources"],
        **values["container"]["merge"],
    }
    beside = [{"name": name, "image": f"{name}:1", **values[name]["merge"]} for name in ("reloader", "promExporter")]
    spec = {"enableServiceLinks": False, **values["podTemplate"]["merge"]["spec"], "containers": [container, *beside]}
    assert objections(spec) == []
    assert values["natsBox"]["enabled"] is False


def test_every_password_of_the_users_comes_from_a_secret_of_its_own(chart: Path) -> None:
    manifests = render(OWN, chart=chart, name="vw")
    users = only(manifests, "ConfigMap", "vendorwire-nats-users")["data"]["users.conf"]
    environment = given(manifests)["container"]["env"]
    assert set(_passwords(users)) == {name for name in environment if name.endswith("_PASSWORD")}
    secrets = [environment[name]["valueFrom"]["secretKeyRef"]["name"] for name in _passwords(users)]
    assert len(set(secrets)) == len(secrets)
    notes = files(OWN, chart=chart, name="vw")["templates/NOTES.txt"]
    assert all(name in notes for name in secrets)
    mounted = {
        each["secret"]["secretName"] for each in agent(manifests, "vw-vendorwire")["volumes"] if "secret" in each
    }
    assert mounted & set(secrets) == {"vendorwire-nats-agent"}


def test_a_server_takes_the_users_from_where_the_chart_puts_them(
    chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = render(OWN, chart=chart, name="vw")
    values = given(manifests)
    (mount,) = values["container"]["patch"]
    (volume,) = values["podTemplate"]["patch"]
    assert volume["value"]["name"] == mount["value"]["name"]
    users = only(manifests, "ConfigMap", volume["value"]["configMap"]["name"])["data"]["users.conf"]
    folder = tmp_path / Path(mount["value"]["mountPath"]).name
    folder.mkdir()
    (folder / "users.conf").write_text(users)
    for name in _passwords(users):
        monkeypatch.setenv(name, f"a{name.lower()}")
    # The official chart writes nats.conf in /etc/nats-config, and a key that ends in $include as a directive.
    include = values["config"]["merge"]["users$include"]
    with start_nats(tmp_path / "nats-config", config_extra=f"include {include}") as nats:
        assert nats.pid


def test_with_nats_of_ones_own_only_vendorwire_is_installed(chart: Path) -> None:
    own = {"nats": {"enabled": False}, "vendorwire": {"config": {"bus": {"url": "nats://mine:4222"}}}}
    manifests = render(merged(OWN, own), chart=chart, name="vw")
    assert not [each for each in manifests if each["metadata"]["name"].startswith("vendorwire-nats")]
    for name in ("vw-vendorwire", "vw-vendorwire-operator"):
        assert "nats://mine:4222" in only(manifests, "ConfigMap", name)["data"]["vendorwire.yaml"]


@pytest.mark.parametrize("shown", values_shown(UMBRELLA), ids=lambda shown: next(iter(shown)))
def test_values_shown_in_the_readme_can_be_installed(shown: dict[str, Any], chart: Path) -> None:
    assert "nats://vendorwire-nats:4222" in str(render(shown, chart=chart))


def test_what_neither_chart_knows_is_refused(chart: Path) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="'vendorwires' not allowed"):
        files(merged(OWN, {"vendorwires": {}}), chart=chart)
    with pytest.raises(helm_python.HelmValuesError, match="'/replicas': minimum"):
        files(merged(OWN, {"vendorwire": {"replicas": -1}}), chart=chart)


def _passwords(users: str) -> list[str]:
    return sorted(set(re.findall(r"\$([A-Z]+_PASSWORD)", users)))
