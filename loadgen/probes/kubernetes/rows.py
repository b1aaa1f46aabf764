"""The rows of a Kubernetes probe, and their values from pods and autoscalers. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loadgen.probes.kubernetes.answers import Autoscaler, Pod
from loadgen.probes.rows import Row, Series, shortened

__all__ = ["CLUSTER_ROWS", "POD_ROWS", "pod_values", "row_of", "scaler_values"]

PODS: Final = Row(key="pods", title="pods running", kind="gauge", names=("pods",))
READY: Final = Row(key="ready", title="pods ready", kind="gauge", names=("ready",))
RESTARTS: Final = Row(key="restarts", title="container restarts", kind="counter", names=("restarts",), unit="1/s")
POD_ROWS: Final = {row.key: row for row in (PODS, READY, RESTARTS)}
_SCALER: Final = {
    "replicas": ("replicas of {}", ""),
    "wanted": ("replicas wanted by {}", ""),
    "most": ("most replicas of {}", ""),
    "used": ("use of {} by its pods", "%"),
    "target": ("target of {}", "%"),
}
"""Title and unit of the rows of an autoscaler, by name."""
CLUSTER_ROWS: Final = (
    *POD_ROWS.values(),
    *(
        Row(key=name, title=title.replace(" of {}", "").replace(" {}", ""), kind="gauge", names=(name,), unit=unit)
        for name, (title, unit) in _SCALER.items()
    ),
)
"""The rows of pods, and those of all autoscalers without their names."""


def row_of(series: Series) -> Row:
    """Return the row of a series."""
    if (row := POD_ROWS.get(series.row)) is not None:
        return row
    title, unit = _SCALER[series.name]
    about = dict(series.labels)["autoscaler"]
    return Row(key=series.row, title=shortened(title.format(about)), kind="gauge", names=(series.name,), unit=unit)


def pod_values(pods: Iterable[Pod]) -> dict[Series, float]:
    """Return the numbers of pods that run and are ready, and the restarts of each container."""
    values = {Series(key, "value", key): 0.0 for key in ("pods", "ready")}
    for pod in pods:
        is_running = pod.status.phase == "Running"
        values[Series("pods", "value", "pods")] += is_running
        values[Series("ready", "value", "ready")] += is_running and all(one.ready for one in pod.containers)
        for one in pod.containers:
            labels = (("container", one.name), ("pod", pod.metadata.name))
            values[Series("restarts", "value", "restarts", labels)] = float(one.restartCount)
    return values


def scaler_values(scalers: Iterable[Autoscaler]) -> dict[Series, float]:
    """Return the state of each autoscaler."""
    values: dict[Series, float] = {}
    for one in scalers:
        name = one.metadata.name
        values[_scaler_series("replicas", name)] = float(one.status.currentReplicas)
        values[_scaler_series("wanted", name)] = float(one.status.desiredReplicas)
        values[_scaler_series("most", name)] = float(one.spec.maxReplicas)
        for metric in one.status.currentMetrics or ():
            if (found := metric.resource) is not None and (used := found.current.averageUtilization) is not None:
                values[_scaler_series("used", f"{name} {found.name}")] = float(used)
        for metric in one.spec.metrics:
            if (found := metric.resource) is not None and (aim := found.target.averageUtilization) is not None:
                values[_scaler_series("target", f"{name} {found.name}")] = float(aim)
    return values


def _scaler_series(name: str, about: str) -> Series:
    return Series(f"{name} {about}", "value", name, (("autoscaler", about),))
