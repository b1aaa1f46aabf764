"""The settings of the kind "kubernetes": the API server of a cluster, read with GET requests.

    [probes.cluster]
    kind = "kubernetes"
    url = "https://10.0.0.1:6443"
    namespace = "shop"
    token = { secret = "cluster-token" }      # a service account's token; a name, never the value
    ca = "cluster-ca.pem"                     # the certificate of the cluster
    every = "5s"

The account needs the verb `list` for pods, events and horizontalpodautoscalers of the namespace, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from loadgen.probes.checks import Wrong, secret_wrongs, text_wrongs, url_wrongs
from loadgen.probes.spec import ProbeSpec, SecretName

__all__ = ["KubernetesTable", "kubernetes_secrets", "kubernetes_wrongs"]

_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SELECTOR: Final = re.compile(r"[A-Za-z0-9_.,/=!() -]{1,500}")


class KubernetesTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of the kind, besides those of all kinds."""

    url: str = ""
    namespace: str = "default"
    pods: str = ""
    """A label selector of pods, such as `app=shop`; empty for all pods of the namespace."""
    token: SecretName | None = None
    ca: str = ""


def kubernetes_wrongs(values: Mapping[str, Any]) -> Iterator[Wrong]:
    """Check the settings of a cluster."""
    yield from url_wrongs(values.get("url"), "https://10.0.0.1:6443", "the URL of the API server")
    yield from text_wrongs(
        "namespace", values.get("namespace"), _NAMESPACE, "the name of a namespace", 'write namespace = "shop"'
    )
    yield from text_wrongs("pods", values.get("pods"), _SELECTOR, "a label selector", 'write pods = "app=shop"')
    yield from secret_wrongs("token", values.get("token"), "cluster-token")
    url = values.get("url")
    if values.get("token") is not None and isinstance(url, str) and url.startswith("http://"):
        yield "token", "token: it would be sent without TLS", 'write url = "https://...", and ca for its certificate'
    if (ca := values.get("ca")) is not None and (not isinstance(ca, str) or not ca.isprintable() or not ca):
        yield "ca", "ca: not the path of a file", 'write ca = "cluster-ca.pem"'


def kubernetes_secrets(spec: ProbeSpec) -> tuple[str, ...]:
    """Return the names of the secrets that the probe needs."""
    token = spec.table(KubernetesTable).token
    return () if token is None else (token.secret,)
