"""Made-up rows of the Basic and the Auxiliary table (see `local.cloud.dataset`)."""

import hashlib
from random import Random
from typing import Any

from local.cloud.identity import Identity
from local.cloud.ticks import format_instant

_PODS = (
    ("checkout-7d9f", "shop"),
    ("zahlung-5c4b", "shop"),
    ("coredns-66bc", "kube-system"),
    ("倉庫-0", "lager"),
)
_MESSAGES = (
    "GET /healthz 200",
    {"level": "warn", "msg": "Lagerbestand niedrig", "sku": "Ä-17", "left": 2**53 + 1},
    "Traceback (most recent call last):\n  File \"app.py\", line 1\nKeyError: 'größe'",
    {"level": "info", "ratio": 0.10, "tags": ["a", None], "nested": {"tief": {}}},
    "",
)
_LEVELS = ("info", "warn", "error", "")


def container_log(random: Random, identity: Identity, time: int) -> dict[str, Any]:
    """A row of ContainerLogV2."""
    pod, namespace = random.choice(_PODS)
    subscription = identity.workspace_resource_id.split("/")[2]
    cluster = f"/subscriptions/{subscription}/resourcegroups/rg-prod/providers/microsoft.containerservice"
    return {
        "Computer": f"aks-pool-{random.randrange(3):06d}",
        "ContainerId": hashlib.sha256(f"{pod} {time}".encode()).hexdigest(),
        "ContainerName": pod.partition("-")[0],
        "PodName": pod,
        "PodNamespace": namespace,
        "LogMessage": random.choice(_MESSAGES),
        "LogSource": random.choice(("stdout", "stderr")),
        "LogLevel": random.choice(_LEVELS),
        "KubernetesMetadata": random.choice((None, {"podLabels": {"app": pod}, "image": "shop:1.4"})),
        "_ResourceId": f"{cluster}/managedclusters/aks-prod",
    }


def firewall_log(random: Random, identity: Identity, time: int) -> dict[str, Any]:
    """A row of Firewall_CL."""
    subscription = identity.workspace_resource_id.split("/")[2]
    gateway = f"/subscriptions/{subscription}/resourcegroups/rg-prod/providers/microsoft.network"
    source, port = f"10.1.{random.randrange(256)}.{random.randrange(256)}", random.choice((22, 53, 443, None))
    action = random.choice(("Allow", "Deny"))
    return {
        "SourceIp": source,
        "DestinationIp": f"203.0.113.{random.randrange(256)}",
        "DestinationPort": port,
        "Action": action,
        "BytesSent": random.choice((0, random.randrange(10**6), 2**40, None)),
        "RawData": f"{format_instant(time)} {action} src={source};dpt={port}\tгород=Łódź",
        "_ResourceId": f"{gateway}/azurefirewalls/fw-prod",
    }
