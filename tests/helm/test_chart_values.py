"""Values that must not be installed are refused, with their path, before anything reaches a cluster."""

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import helm_python
import msgspec
import pytest

from agent import config
from connectors.every import Every
from events.routes import Route, Secrets
from schemas.settings import Secret
from tests.helm.chart import example, files, merged

SMALL = example("small")
ROUTE = SMALL["config"]["routes"][0]
ACCOUNT = SMALL["config"]["accounts"][0]
PLAIN = "canary-in-plain-text"


def under(path: str, value: Any) -> dict[str, Any]:
    """A value at the end of a path."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def refusal(*values: dict[str, Any]) -> str:
    """What Helm says of the values; empty where it takes them."""
    try:
        files(merged(SMALL, *values))
    except helm_python.HelmError as error:
        return str(error)
    return ""


UNSAFE: dict[str, Any] = {
    "security.runAsUser": 0,
    "security.runAsGroup": 0,
    "security.fsGroup": 0,
    "security.privileged": True,
    "security.readOnlyRootFilesystem": False,
    "image.tag": "latest",
    "image.digest": "sha256:abc",
    "image.repository": "vendorwire:latest",
    "replicas": -1,
    "separateRoles.poll.replicas": -1,
    "separateRoles.replica": 1,
    "resources.limits": None,
    "resources.limits.memory": None,
    "separateRoles.route.resources": {"requests": {"cpu": 1, "memory": "1Gi"}},
    "autoscaling.targetCPU": 0,
    "autoscaling.minReplicas": 0,
    "autoscaling.maxReplicas": 0,
    "separateRoles.poll.autoscaling.maxReplicas": 0,
    "port": 80,
    "listenOn": "10.0.0.1",
    "secrets": ["../etc"],
    "tokenKey.secret": "x",
    "preStopSeconds": -1,
    "terminationGracePeriodSeconds": -1,
    "networkPolicy.monitoring": [{}],
    "networkPolicy.https.ports": [],
    "networkPolicy.extraEgress": [{"ports": [{"port": 80}]}],
    "networkPolicy.extraIngress": [],
    "podDisruptionBudget.maxUnavailable": 0,
    "topologySpread.whenUnsatisfiable": "Never",
    "podLabels": {"app.kubernetes.io/name": "other"},
    "commonLabels": {"helm.sh/chart": "other"},
    "probes.liveness.exec": {"command": ["true"]},
    "serviceAccount.automountServiceAccountToken": True,
    "docsUrl": "http://plain.example.com",
    "serviceMonitor.interval": "often",
    "keda.prometheusUrl": "http://user:word@prometheus",
    "replicaCount": 3,
    "operator.replicas": 2,
    "operator.bus.url": "nats://elsewhere:4222",
    "operator.bus.inbox_prefix": "operator",
    "operator.secrets": ["../etc"],
    "operator.resources.limits": None,
    "config.grace": "6",
    "config.http.listen": "127.0.0.1:8787",
    "config.bus.data": "/data",
    "config.bus.replicas": 2,
    "config.bus.url": "nats://agent:word@nats:4222",
    "config.accounts": [],
    "config.route": [],
}


@pytest.mark.parametrize("path", UNSAFE)
def test_what_is_unknown_or_unsafe_is_refused_with_its_path(path: str) -> None:
    assert _names(refusal(under(path, UNSAFE[path])), path)


def _names(said: str, path: str) -> bool:
    """Whether a message leads to a value: by its own path, or as what lacks or is too much in the one above it."""
    *above, last = path.split(".")
    place = f"/{'/'.join(above)}" if above else ""
    return f"at '{place}/{last}" in said or (f"at '{place}': " in said and f"'{last}'" in said)


@pytest.mark.parametrize("replicas", [1, 3])
def test_an_embedded_server_is_refused_as_agents_cannot_share_it(replicas: int) -> None:
    values = {key: value for key, value in SMALL["config"].items() if key != "bus"}
    with pytest.raises(helm_python.HelmValuesError, match=r"'/config': missing property 'bus'"):
        files({"config": values, "replicas": replicas})
    with pytest.raises(helm_python.HelmValuesError, match=r"'/config/bus': missing property 'url'"):
        files({"config": {**values, "bus": {"keep_events": "30d"}}, "replicas": replicas})


def secrets_of(kind: Any, path: str = "") -> Iterator[str]:
    """The path of each setting that the agent takes for a secret."""
    for name, hint in get_type_hints(kind).items():
        if name not in kind.__struct_fields__:
            continue
        for option in (hint, *get_args(hint)):
            if option in (Secret, Secrets):
                yield f"{path}{name}"
            elif isinstance(option, type) and issubclass(option, msgspec.Struct):
                yield from secrets_of(option, f"{path}{name}.")


OF_THE_BUS = [*secrets_of(config.Bus, "config.bus."), *secrets_of(config.Http, "config.http.")]
OF_ACCOUNTS = sorted({name for vendor in get_args(Every) for name in secrets_of(vendor)})


def test_the_secrets_of_the_configuration_are_known() -> None:
    assert OF_THE_BUS == ["config.bus.password", "config.bus.token", "config.bus.nkey", "config.http.admin_token"]
    assert OF_ACCOUNTS == ["api_key", "client_secret", "hint_secret", "password", "refresh_token"]
    assert list(secrets_of(Route)) == ["webhook.secret", "webhook.headers"]


def plain_texts() -> Iterator[Any]:
    for path in (*OF_THE_BUS, *(each.replace("config.bus", "operator.bus") for each in OF_THE_BUS[:3])):
        yield pytest.param(under(path, PLAIN), path.replace(".", "/"), id=path)
    for name in OF_ACCOUNTS:
        yield pytest.param(under("config.accounts", [{**ACCOUNT, name: PLAIN}]), f"config/accounts/0/{name}", id=name)
    for name, value in (
        ("secret", PLAIN),
        ("secret", ["${A}", PLAIN]),
        ("headers", {"authorization": f"Bearer {PLAIN}"}),
    ):
        route = merged(ROUTE, {"webhook": {name: value}})
        yield pytest.param(
            under("config.routes", [route]), f"config/routes/0/webhook/{name}", id=f"{name}-{type(value).__name__}"
        )
    env = [{"name": "CRM_TOKEN", "value": PLAIN}]
    yield pytest.param({"env": env}, "env/0", id="environment")


@pytest.mark.parametrize(("values", "path"), list(plain_texts()))
def test_a_secret_in_plain_text_is_refused_and_not_repeated(values: dict[str, Any], path: str) -> None:
    said = refusal(values)
    assert f"'/{path}" in said
    assert PLAIN not in said


def test_what_to_write_instead_of_a_secret_is_said() -> None:
    assert "${file:/etc/vendorwire/secrets/<Secret>/<key>}" in refusal(under("config.bus.password", PLAIN))


def test_secrets_by_reference_are_taken() -> None:
    reference = "${file:/etc/vendorwire/secrets/vendorwire-crm/x}"
    for path in OF_THE_BUS:
        assert refusal(under(path, reference)) == ""
    route = merged(
        ROUTE, {"webhook": {"secret": [reference, reference], "headers": {"authorization": f"Bearer {reference}"}}}
    )
    assert refusal(under("config.routes", [route])) == ""


def test_addresses_by_reference_are_taken() -> None:
    route = merged(ROUTE, {"webhook": {"url": "${file:/etc/vendorwire/secrets/vendorwire-crm/url}"}})
    env = [{"name": "NATS_URL", "value": "nats://nats:4222"}]
    assert refusal(under("config.bus.url", "${NATS_URL}"), {"env": env}, under("config.routes", [route])) == ""


def test_labels_that_the_chart_does_not_set_are_taken() -> None:
    assert refusal({"commonLabels": {"app.kubernetes.io/part-of": "hotels"}}) == ""


SENTENCES: dict[str, dict[str, Any]] = {
    "config and existingConfigMap are both set": {"existingConfigMap": "mine"},
    "refers to /etc/vendorwire/secrets/vendorwire-cottages/…, and secrets does not list": {
        "secrets": ["vendorwire-crm"]
    },
    "refers to ${NATS}, and env has no variable": under("config.bus.password", "${NATS}"),
    "env: HOOK is a secret of config in plain text": {
        "env": [{"name": "HOOK", "value": "x"}],
        **under("config.routes", [merged(ROUTE, {"webhook": {"secret": ["${file:/x}", "${HOOK}"]}})]),
    },
    "operator.bus refers to /etc/vendorwire/secrets/of-operators/…, and operator.secrets does not list": {
        "operator": {"enabled": True, "bus": {"credentials": "/etc/vendorwire/secrets/of-operators/creds"}}
    },
    "refers to ${OPERATOR}, and env has no variable": {
        "operator": {"enabled": True, "bus": {"user": "x", "password": "${OPERATOR}"}}
    },
    "env: WORD is a secret of config in plain text": {
        "operator": {"enabled": True, "bus": {"user": "x", "password": "${WORD}"}},
        "env": [{"name": "WORD", "value": "x"}],
    },
    "operator.bus does not sign in, and config.bus does": {
        "operator": {"enabled": True},
        **under("config.bus.user", "agent"),
    },
    "serviceMonitor.scrapeTimeout is 1s, longer than serviceMonitor.interval, 900ms": {
        "serviceMonitor": {"interval": "900ms", "scrapeTimeout": "1s"}
    },
    "autoscaling is that of one Deployment": {"separateRoles": {"enabled": True}, "autoscaling": {"enabled": True}},
    "set separateRoles.enabled": {"keda": {"enabled": True, "prometheusUrl": "http://p"}},
    "keda.prometheusUrl is empty": {"keda": {"enabled": True}, "separateRoles": {"enabled": True}},
    "would both choose the number of agents": {
        "keda": {"enabled": True, "prometheusUrl": "http://p"},
        "separateRoles": {"enabled": True, "route": {"autoscaling": {"enabled": True, "minReplicas": 1}}},
    },
    "keda.minReplicas is above keda.maxReplicas, which is 1": {
        "keda": {"enabled": True, "prometheusUrl": "http://p", "minReplicas": 2},
        "separateRoles": {"enabled": True},
    },
    "minReplicas is above maxReplicas, which is 1": {
        "separateRoles": {"enabled": True, "route": {"autoscaling": {"enabled": True}}}
    },
    "terminationGracePeriodSeconds is 9: stopping takes up to 9 seconds": {"terminationGracePeriodSeconds": 9},
    "stopping takes up to 33 seconds": {"terminationGracePeriodSeconds": 30, **under("config.grace", "30s")},
    "stopping takes up to 19 seconds": {"terminationGracePeriodSeconds": 19, "preStopSeconds": 10},
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_what_does_not_fit_together_is_refused_with_a_sentence(sentence: str) -> None:
    assert sentence in refusal(SENTENCES[sentence])


def test_a_pod_may_be_given_just_longer_than_stopping_takes() -> None:
    assert refusal({"terminationGracePeriodSeconds": 10}) == ""


@pytest.mark.parametrize(
    "values",
    [
        {"keda": {"enabled": True, "prometheusUrl": "http://p"}, "separateRoles": {"enabled": True}},
        {"separateRoles": {"enabled": True, "route": {"autoscaling": {"enabled": True}}}},
    ],
)
def test_how_many_agents_deliver_at_most_is_asked_where_the_routes_are_not_known(values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="maxReplicas is 0, and how many routes"):
        files({"existingConfigMap": "mine", **values})


def test_with_a_config_map_of_ones_own_the_operator_wants_one_too() -> None:
    with pytest.raises(helm_python.HelmRenderError, match=r"operator\.existingConfigMap is empty"):
        files({"existingConfigMap": "mine", "operator": {"enabled": True}})


def test_a_scrape_may_take_as_long_as_the_interval() -> None:
    assert refusal({"serviceMonitor": {"interval": "1m", "scrapeTimeout": "60s"}}) == ""


def test_without_a_configuration_nothing_is_installed() -> None:
    with pytest.raises(helm_python.HelmRenderError, match="config is empty"):
        files({})


def test_values_of_a_chart_around_it_are_let_through() -> None:
    assert refusal({"global": {"anything": 1}}) == ""
