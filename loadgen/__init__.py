"""Load tests as scenarios in typed async Python, with exact percentiles of the whole fleet during the run.

A name is imported when it is first used, because all of them together take half a second: programs that use a part of
the package, such as the agent's supervisor, start without the rest. `TYPE_CHECKING` shows type checkers and editors
the same names.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadgen.clients.graphql import gql
    from loadgen.clients.grpc_client.canned import grpc_reply
    from loadgen.clients.llm.settings import Llm
    from loadgen.clients.llm_apis.types import Message
    from loadgen.clients.net.canned_replies import reply, stream_reply, ws_peer
    from loadgen.clients.net.settings import Http
    from loadgen.clients.request.tracing import Trace
    from loadgen.clients.response.replies import Reply
    from loadgen.clients.tcp_udp.frames import Frame, FrameError, fixed_size, length_prefix, lines, until
    from loadgen.clients.tcp_udp.matching import first
    from loadgen.dsl.data import feed
    from loadgen.dsl.data.choices import Choices, choices
    from loadgen.dsl.data.descriptor_set import DescriptorSet, descriptor_set
    from loadgen.dsl.data.inference_rows import BatchRow, MooncakeRow, Turn
    from loadgen.dsl.data.quantile_file import quantiles
    from loadgen.dsl.distributions import empirical, exponential, fixed, lognormal, normal, uniform
    from loadgen.dsl.executors.capacity import hold, search
    from loadgen.dsl.executors.custom import ClosedExecutor, OpenExecutor
    from loadgen.dsl.executors.named_shapes import break_point, soak, spike, stress
    from loadgen.dsl.executors.recorded_traffic_load import replay
    from loadgen.dsl.executors.standard import arrivals, iterations, users
    from loadgen.dsl.executors.steering_executor import Decision, Finding, Look, SteeringExecutor
    from loadgen.dsl.graphs.graph import Graph, graph
    from loadgen.dsl.graphs.nodes_and_edges import Edges, Node, edge, leave, node
    from loadgen.dsl.journey import Journey, Mix, journey
    from loadgen.dsl.metric import counter, gauge, rate, trend
    from loadgen.dsl.payload import blob, file
    from loadgen.dsl.plans.objectives.goodput import goodput
    from loadgen.dsl.plans.objectives.promise_file import openslo
    from loadgen.dsl.plans.objectives.slo import (
        any_of,
        checks,
        error_ratio,
        maximum,
        mean,
        minimum,
        none_of,
        p,
        throughput,
        total,
    )
    from loadgen.dsl.plans.param import param
    from loadgen.dsl.plans.per_load import PerLoad, per_load
    from loadgen.dsl.plans.plan import Plan
    from loadgen.dsl.plans.plan_loads import Load
    from loadgen.dsl.plans.probe import (
        kubernetes_cluster,
        metrics_page,
        pgbouncer_console,
        postgres_server,
        probe,
        prometheus_server,
    )
    from loadgen.dsl.prompts.prompt import Prompt, prompt, shared_prefix, zipf
    from loadgen.dsl.pytest_trial import Trial
    from loadgen.dsl.secret import secret
    from loadgen.dsl.tag import Tag, tag
    from loadgen.dsl.users.user import User, UserWith
    from loadgen.errors import ExpectFailed, IterationEnded, RequestFailed, ScenarioError
    from loadgen.report.run_as_dataframes import open_run
    from loadgen.studies.read_study import open_study
    from loadgen.sweep.open_sweep import open_sweep

__all__ = [
    "BatchRow",
    "Choices",
    "ClosedExecutor",
    "Decision",
    "DescriptorSet",
    "Edges",
    "ExpectFailed",
    "Finding",
    "Frame",
    "FrameError",
    "Graph",
    "Http",
    "IterationEnded",
    "Journey",
    "Llm",
    "Load",
    "Look",
    "Message",
    "Mix",
    "MooncakeRow",
    "Node",
    "OpenExecutor",
    "PerLoad",
    "Plan",
    "Prompt",
    "Reply",
    "RequestFailed",
    "ScenarioError",
    "SteeringExecutor",
    "Tag",
    "Trace",
    "Trial",
    "Turn",
    "User",
    "UserWith",
    "any_of",
    "arrivals",
    "blob",
    "break_point",
    "checks",
    "choices",
    "counter",
    "descriptor_set",
    "edge",
    "empirical",
    "error_ratio",
    "exponential",
    "feed",
    "file",
    "first",
    "fixed",
    "fixed_size",
    "gauge",
    "goodput",
    "gql",
    "graph",
    "grpc_reply",
    "hold",
    "iterations",
    "journey",
    "kubernetes_cluster",
    "leave",
    "length_prefix",
    "lines",
    "lognormal",
    "maximum",
    "mean",
    "metrics_page",
    "minimum",
    "node",
    "none_of",
    "normal",
    "open_run",
    "open_study",
    "open_sweep",
    "openslo",
    "p",
    "param",
    "per_load",
    "pgbouncer_console",
    "postgres_server",
    "probe",
    "prometheus_server",
    "prompt",
    "quantiles",
    "rate",
    "replay",
    "reply",
    "search",
    "secret",
    "shared_prefix",
    "soak",
    "spike",
    "stream_reply",
    "stress",
    "tag",
    "throughput",
    "total",
    "trend",
    "uniform",
    "until",
    "users",
    "ws_peer",
    "zipf",
]

_MODULES = {
    "BatchRow": "loadgen.dsl.data.inference_rows",
    "ClosedExecutor": "loadgen.dsl.executors.custom",
    "Decision": "loadgen.dsl.executors.steering_executor",
    "Edges": "loadgen.dsl.graphs.nodes_and_edges",
    "ExpectFailed": "loadgen.errors",
    "Finding": "loadgen.dsl.executors.steering_executor",
    "Frame": "loadgen.clients.tcp_udp.frames",
    "FrameError": "loadgen.clients.tcp_udp.frames",
    "Graph": "loadgen.dsl.graphs.graph",
    "Http": "loadgen.clients.net.settings",
    "Llm": "loadgen.clients.llm.settings",
    "Message": "loadgen.clients.llm_apis.types",
    "IterationEnded": "loadgen.errors",
    "Journey": "loadgen.dsl.journey",
    "Load": "loadgen.dsl.plans.plan_loads",
    "Look": "loadgen.dsl.executors.steering_executor",
    "Mix": "loadgen.dsl.journey",
    "MooncakeRow": "loadgen.dsl.data.inference_rows",
    "Node": "loadgen.dsl.graphs.nodes_and_edges",
    "OpenExecutor": "loadgen.dsl.executors.custom",
    "PerLoad": "loadgen.dsl.plans.per_load",
    "Plan": "loadgen.dsl.plans.plan",
    "Prompt": "loadgen.dsl.prompts.prompt",
    "Reply": "loadgen.clients.response.replies",
    "RequestFailed": "loadgen.errors",
    "ScenarioError": "loadgen.errors",
    "SteeringExecutor": "loadgen.dsl.executors.steering_executor",
    "Tag": "loadgen.dsl.tag",
    "Trace": "loadgen.clients.request.tracing",
    "Trial": "loadgen.dsl.pytest_trial",
    "Turn": "loadgen.dsl.data.inference_rows",
    "User": "loadgen.dsl.users.user",
    "UserWith": "loadgen.dsl.users.user",
    "any_of": "loadgen.dsl.plans.objectives.slo",
    "arrivals": "loadgen.dsl.executors.standard",
    "blob": "loadgen.dsl.payload",
    "break_point": "loadgen.dsl.executors.named_shapes",
    "checks": "loadgen.dsl.plans.objectives.slo",
    "counter": "loadgen.dsl.metric",
    "edge": "loadgen.dsl.graphs.nodes_and_edges",
    "choices": "loadgen.dsl.data.choices",
    "Choices": "loadgen.dsl.data.choices",
    "descriptor_set": "loadgen.dsl.data.descriptor_set",
    "DescriptorSet": "loadgen.dsl.data.descriptor_set",
    "quantiles": "loadgen.dsl.data.quantile_file",
    "empirical": "loadgen.dsl.distributions",
    "error_ratio": "loadgen.dsl.plans.objectives.slo",
    "exponential": "loadgen.dsl.distributions",
    "feed": "loadgen.dsl.data",
    "file": "loadgen.dsl.payload",
    "first": "loadgen.clients.tcp_udp.matching",
    "fixed": "loadgen.dsl.distributions",
    "fixed_size": "loadgen.clients.tcp_udp.frames",
    "gauge": "loadgen.dsl.metric",
    "goodput": "loadgen.dsl.plans.objectives.goodput",
    "gql": "loadgen.clients.graphql",
    "graph": "loadgen.dsl.graphs.graph",
    "hold": "loadgen.dsl.executors.capacity",
    "iterations": "loadgen.dsl.executors.standard",
    "journey": "loadgen.dsl.journey",
    "leave": "loadgen.dsl.graphs.nodes_and_edges",
    "length_prefix": "loadgen.clients.tcp_udp.frames",
    "lines": "loadgen.clients.tcp_udp.frames",
    "lognormal": "loadgen.dsl.distributions",
    "maximum": "loadgen.dsl.plans.objectives.slo",
    "mean": "loadgen.dsl.plans.objectives.slo",
    "kubernetes_cluster": "loadgen.dsl.plans.probe",
    "pgbouncer_console": "loadgen.dsl.plans.probe",
    "postgres_server": "loadgen.dsl.plans.probe",
    "prometheus_server": "loadgen.dsl.plans.probe",
    "metrics_page": "loadgen.dsl.plans.probe",
    "minimum": "loadgen.dsl.plans.objectives.slo",
    "node": "loadgen.dsl.graphs.nodes_and_edges",
    "none_of": "loadgen.dsl.plans.objectives.slo",
    "normal": "loadgen.dsl.distributions",
    "open_run": "loadgen.report.run_as_dataframes",
    "open_study": "loadgen.studies.read_study",
    "open_sweep": "loadgen.sweep.open_sweep",
    "openslo": "loadgen.dsl.plans.objectives.promise_file",
    "p": "loadgen.dsl.plans.objectives.slo",
    "param": "loadgen.dsl.plans.param",
    "per_load": "loadgen.dsl.plans.per_load",
    "probe": "loadgen.dsl.plans.probe",
    "prompt": "loadgen.dsl.prompts.prompt",
    "rate": "loadgen.dsl.metric",
    "replay": "loadgen.dsl.executors.recorded_traffic_load",
    "reply": "loadgen.clients.net.canned_replies",
    "grpc_reply": "loadgen.clients.grpc_client.canned",
    "stream_reply": "loadgen.clients.net.canned_replies",
    "search": "loadgen.dsl.executors.capacity",
    "secret": "loadgen.dsl.secret",
    "shared_prefix": "loadgen.dsl.prompts.prompt",
    "soak": "loadgen.dsl.executors.named_shapes",
    "spike": "loadgen.dsl.executors.named_shapes",
    "stress": "loadgen.dsl.executors.named_shapes",
    "tag": "loadgen.dsl.tag",
    "throughput": "loadgen.dsl.plans.objectives.slo",
    "total": "loadgen.dsl.plans.objectives.slo",
    "trend": "loadgen.dsl.metric",
    "uniform": "loadgen.dsl.distributions",
    "until": "loadgen.clients.tcp_udp.frames",
    "users": "loadgen.dsl.executors.standard",
    "ws_peer": "loadgen.clients.net.canned_replies",
    "zipf": "loadgen.dsl.prompts.prompt",
}
"""The module of each name."""


def __getattr__(name: str) -> object:
    """Import and return the public object `name`.

    Python calls this only for a name that the module does not have yet; the object is stored in the module then.

    Raises:
        AttributeError: there is no public object of this name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'loadgen' has no attribute {name!r}")
    # Not `import_module`: `feed` is a module of its package, which is imported only if it is in the `fromlist`.
    globals()[name] = value = getattr(__import__(_MODULES[name], fromlist=[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
