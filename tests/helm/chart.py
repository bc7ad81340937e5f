"""The charts as Helm's own engine renders them, and as Kubernetes would take them.

for manifest in render(example("production")):
    ...  # manifest["kind"]
"""

import copy
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import helm_python
import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
from kubernetes_validate import utils
from referencing import Registry, Resource
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "vendorwire"
UMBRELLA = ROOT / "helm" / "vendorwire-nats"
EXAMPLES = ("small", "production", "hardened")
NEWEST: Sequence[str] = sorted(
    {utils.major_minor(version) for version in utils.all_versions()}, key=lambda each: tuple(map(int, each.split(".")))
)[-2:]
RELEASE, NAMESPACE = "vendorwire", "integrations"

Manifest: TypeAlias = dict[str, Any]
Values: TypeAlias = Mapping[str, Any]

# The kinds that Kubernetes itself does not know: what their makers require, and no key but those that we use.
CUSTOM: Mapping[str, Mapping[str, Any]] = {
    "ServiceMonitor": {
        "required": ["selector", "endpoints"],
        "additionalProperties": False,
        "properties": {
            "selector": {"required": ["matchLabels"]},
            "namespaceSelector": {"required": ["matchNames"]},
            "endpoints": {
                "minItems": 1,
                "items": {
                    "required": ["port", "path", "interval", "scrapeTimeout"],
                    "properties": {
                        "port": {"type": "string"},
                        "interval": {"pattern": "^[0-9]+(s|m)$"},
                        "scrapeTimeout": {"pattern": "^[0-9]+(s|m)$"},
                    },
                },
            },
        },
    },
    "PrometheusRule": {
        "required": ["groups"],
        "additionalProperties": False,
        "properties": {
            "groups": {
                "minItems": 1,
                "items": {
                    "required": ["name", "rules"],
                    "properties": {
                        "rules": {
                            "minItems": 1,
                            "items": {
                                "required": ["expr"],
                                "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
                                "properties": {
                                    "expr": {"type": ["string", "integer"]},
                                    "labels": {"additionalProperties": {"type": "string"}},
                                    "annotations": {"additionalProperties": {"type": "string"}},
                                },
                            },
                        }
                    },
                },
            }
        },
    },
    "ScaledObject": {
        "required": ["scaleTargetRef", "triggers", "minReplicaCount", "maxReplicaCount"],
        "additionalProperties": False,
        "properties": {
            "scaleTargetRef": {"required": ["name"]},
            "pollingInterval": {"type": "integer"},
            "cooldownPeriod": {"type": "integer"},
            "minReplicaCount": {"type": "integer"},
            "maxReplicaCount": {"type": "integer"},
            "triggers": {
                "minItems": 1,
                "items": {
                    "required": ["type", "metadata"],
                    "properties": {
                        "type": {"const": "prometheus"},
                        "metricType": {"enum": ["AverageValue", "Value"]},
                        "metadata": {
                            "required": ["serverAddress", "query", "threshold"],
                            "additionalProperties": {"type": "string"},
                        },
                    },
                },
            },
        },
    },
}


def example(name: str) -> dict[str, Any]:
    """One of the example value sets, read as Helm reads it."""
    return helm_python.values_from_yaml((CHART / "examples" / f"{name}.yaml").read_text())


def merged(*values: Values) -> dict[str, Any]:
    """Values over values, as `helm -f one -f two` puts them together."""
    whole: dict[str, Any] = {}
    for each in values:
        for key, value in each.items():
            below = whole.get(key)
            whole[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return whole


def files(values: Values, *, chart: Path = CHART, name: str = RELEASE) -> dict[str, str]:
    """Path below the chart → what its template became. Raises HelmError."""
    return dict(_files(chart, json.dumps(values), name))


@functools.cache
def _files(chart: Path, values: str, name: str) -> dict[str, str]:
    with helm_python.Chart.load(chart) as loaded:
        rendered = loaded.render(json.loads(values), name=name, namespace=NAMESPACE)
    return {path.partition("/")[2]: text for path, text in rendered.items()}


def render(values: Values, *, chart: Path = CHART, name: str = RELEASE) -> list[Manifest]:
    """Every object that would be installed, `helm test`'s too. Raises HelmError."""
    texts = sorted(files(values, chart=chart, name=name).items())
    return [each for path, text in texts if path.endswith(".yaml") for each in copy.deepcopy(_parsed(text))]


@functools.cache
def _parsed(text: str) -> list[Manifest]:
    return [manifest for manifest in YAML(typ="safe").load_all(text) if manifest]


def only(manifests: Sequence[Manifest], kind: str, name: str = "") -> Manifest:
    """The one object of a kind, and of a name where one is given."""
    (found,) = [each for each in manifests if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    return found


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each pod spec, with the name of the object that has it."""
    for each in manifests:
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Pod":
            yield name, each["spec"]
        elif "template" in each.get("spec", {}):
            yield name, each["spec"]["template"]["spec"]


def agent(manifests: Sequence[Manifest], name: str = RELEASE) -> dict[str, Any]:
    """The pod spec of a Deployment."""
    spec: dict[str, Any] = only(manifests, "Deployment", name)["spec"]["template"]["spec"]
    return spec


def fault(manifest: Manifest, version: str) -> str:
    """What that release of Kubernetes would refuse, empty where nothing. No unknown key is let through."""
    custom = CUSTOM.get(manifest["kind"])
    validator = jsonschema.Draft202012Validator(custom) if custom else _validator(_file(manifest), version)
    error = next(validator.iter_errors(manifest["spec"] if custom else manifest), None)
    return f"{manifest['kind']} {error.json_path}: {error.message}" if error else ""


def _file(manifest: Manifest) -> str:
    group, _, version = str(manifest["apiVersion"]).rpartition("/")
    return "-".join(part for part in (manifest["kind"].lower(), group.partition(".")[0], version) if part)


@functools.cache
def _validator(file: str, version: str) -> jsonschema.Draft202012Validator:
    """As `kubernetes_validate.validate` makes it for each object anew."""
    exact = next(each for each in utils.all_versions() if utils.major_minor(each) == version)
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{exact}-local-strict"
    schema, definitions = (json.loads((folder / f"{name}.json").read_text()) for name in (file, "_definitions"))
    registry: Registry[Any] = Resource.from_contents(definitions) @ (Resource.from_contents(schema) @ Registry())
    return jsonschema.Draft202012Validator(schema, registry=registry)
