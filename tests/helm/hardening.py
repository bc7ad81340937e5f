"""What a hardened cluster asks of a pod: Pod Security "restricted", and this project's own list beyond it."""

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SHELLS = ("sh", "bash", "ash", "/bin/sh", "/bin/bash", "env")


def objections(spec: Spec, *, ids: bool = True) -> list[str]:
    """Why a pod would be refused, or should be; empty where it is as it must be. `ids` false: the platform chooses them."""
    return [*_of_pod(spec), *_of_identity(spec, ids=ids), *_of_volumes(spec), *_of_containers(spec)]


def _of_pod(spec: Spec) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        if key in spec:
            yield f"{key} is set"
    if spec.get("automountServiceAccountToken") is not False:
        yield "a token is mounted"
    if spec.get("enableServiceLinks") is not False:
        yield "other services are told to it in its environment"
    security = spec.get("securityContext", {})
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "seccomp is not RuntimeDefault"
    for key in ("sysctls", "windowsOptions", "seLinuxOptions", "appArmorProfile", "supplementalGroups"):
        if key in security:
            yield f"securityContext.{key} is set"


def _of_identity(spec: Spec, *, ids: bool) -> Iterator[str]:
    security = spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True:
        yield "it may run as root"
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        if ids and not security.get(key, 0) >= 1000:
            yield f"{key} is no high id"
        if not ids and key in security:
            yield f"{key} is set"


def _of_volumes(spec: Spec) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        (kind,) = volume.keys() - {"name"}
        if kind not in VOLUMES:
            yield f"volume {volume['name']} is a {kind}"
        if kind == "emptyDir" and "sizeLimit" not in (volume[kind] or {}):
            yield f"volume {volume['name']} has no limit"


def _of_containers(spec: Spec) -> Iterator[str]:
    containers = [*spec.get("containers", []), *spec.get("initContainers", []), *spec.get("ephemeralContainers", [])]
    for container in containers:
        for objection in (*_of_rights(container), *_of_means(container)):
            yield f"{container['name']}: {objection}"


def _of_rights(container: Spec) -> Iterator[str]:
    security = container.get("securityContext", {})
    wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    for key in wanted.keys() | security.keys():
        if key not in wanted or security.get(key) != wanted[key]:
            yield f"securityContext.{key} is {security.get(key)}"


def _of_means(container: Spec) -> Iterator[str]:
    for kind in ("requests", "limits"):
        if not container.get("resources", {}).get(kind, {}).keys() >= {"cpu", "memory"}:
            yield f"no {kind} of cpu and memory"
    image = container["image"]
    if image.endswith(":latest") or not ("@sha256:" in image or ":" in image.rpartition("/")[2]):
        yield f"image {image} is not one release"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "it takes a port of the node"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if probe in container and "httpGet" not in container[probe]:
            yield f"{probe} is not asked by HTTP"
    if any(word in SHELLS for word in container.get("command", [])) or "exec" in str(container.get("lifecycle", "")):
        yield "it needs a shell"
