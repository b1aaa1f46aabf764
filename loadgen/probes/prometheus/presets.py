"""Selectors for exporters that many teams have: node_exporter for machines, cAdvisor for containers.

Sources: the metrics pages of node_exporter 1.9 and the documentation of cAdvisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loadgen.probes.rows import ReadKind, Row

__all__ = ["PROMETHEUS_PRESETS", "SelectedRow"]

_DISKS: Final = 'device!~"dm-.*|loop.*|ram.*|zram.*|sr.*|fd.*"'
_CONTAINER: Final = 'container!="",container!="POD"'
_MIB: Final = 1 / (1 << 20)


@dataclass(frozen=True, slots=True)
class SelectedRow:
    """A row, and the selectors of its series.

    by: the labels that give a row of its own. of: the selector of the denominator of a share.
    """

    row: Row
    selector: str
    of: str = ""
    by: tuple[str, ...] = ("instance",)


def _row(
    key: str, title: str, kind: ReadKind, selector: str, *, unit: str = "", scale: float = 1.0, of: str = "",
    by: tuple[str, ...] = ("instance",),
) -> SelectedRow:  # fmt: skip
    name = selector.partition("{")[0]
    below = (of.partition("{")[0],) if of else ()
    row = Row(key=key, title=title, kind=kind, names=(name,), of=below, unit=unit, scale=scale)
    return SelectedRow(row, selector, of, by)


_POD: Final = ("namespace", "pod", "container")

PROMETHEUS_PRESETS: Final[dict[str, tuple[SelectedRow, ...]]] = {
    "node": (
        _row(
            "cpu", "CPU busy", "share", 'node_cpu_seconds_total{mode!~"idle|iowait|steal|guest.*"}',
            of='node_cpu_seconds_total{mode!~"guest.*"}', unit="%", scale=100,
        ),
        _row(
            "steal", "CPU stolen by the hypervisor", "share", 'node_cpu_seconds_total{mode="steal"}',
            of='node_cpu_seconds_total{mode!~"guest.*"}', unit="%", scale=100,
        ),
        _row("run_queue", "threads running or waiting for a CPU", "gauge", "node_procs_running"),
        _row("load1", "load average, 1 min", "gauge", "node_load1"),
        _row(
            "cpu_pressure", "time in which a thread waited for a CPU", "counter",
            "node_pressure_cpu_waiting_seconds_total", unit="%", scale=100,
        ),
        _row(
            "memory_pressure", "time in which a thread waited for memory", "counter",
            "node_pressure_memory_waiting_seconds_total", unit="%", scale=100,
        ),
        _row(
            "io_pressure", "time in which a thread waited for a disk", "counter",
            "node_pressure_io_waiting_seconds_total", unit="%", scale=100,
        ),
        _row("memory_available", "memory available", "gauge", "node_memory_MemAvailable_bytes", unit="MiB", scale=_MIB),
        _row(
            "disk_busy", "disk busy", "counter", f"node_disk_io_time_seconds_total{{{_DISKS}}}", unit="%", scale=100,
            by=("instance", "device"),
        ),
        _row(
            "retransmits", "TCP segments sent again", "share", "node_netstat_Tcp_RetransSegs",
            of="node_netstat_Tcp_OutSegs", unit="%", scale=100,
        ),
        _row("file_handles", "file handles", "gauge", "node_filefd_allocated"),
        _row(
            "received", "bytes received", "counter", 'node_network_receive_bytes_total{device!="lo"}',
            unit="MiB/s", scale=_MIB,
        ),
        _row(
            "sent", "bytes sent", "counter", 'node_network_transmit_bytes_total{device!="lo"}',
            unit="MiB/s", scale=_MIB,
        ),
    ),
    "cadvisor": (
        _row(
            "container_cpu", "CPU cores used", "counter", f"container_cpu_usage_seconds_total{{{_CONTAINER}}}",
            unit="cores", by=_POD,
        ),
        _row(
            "throttled", "CPU periods throttled", "share", f"container_cpu_cfs_throttled_periods_total{{{_CONTAINER}}}",
            of=f"container_cpu_cfs_periods_total{{{_CONTAINER}}}", unit="%", scale=100, by=_POD,
        ),
        _row(
            "container_memory", "memory in use", "gauge", f"container_memory_working_set_bytes{{{_CONTAINER}}}",
            unit="MiB", scale=_MIB, by=_POD,
        ),
        _row(
            "memory_limit", "memory limit", "gauge", f"container_spec_memory_limit_bytes{{{_CONTAINER}}}",
            unit="MiB", scale=_MIB, by=_POD,
        ),
        _row("oom", "kills for lack of memory", "counter", f"container_oom_events_total{{{_CONTAINER}}}", by=_POD),
    ),
}  # fmt: skip
