"""Load tests as scenarios in typed async Python, with exact percentiles of the whole fleet during the run.

A name is imported when it is first used, because all of them together take half a second: programs that use a part of
the package, such as the agent's supervisor, start without the rest. `TYPE_CHECKING` shows type checkers and editors
the same names.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadgen.clients.graphql import gql
    from loadgen.clients.net.canned_replies import reply
    from loadgen.clients.net.settings import Http
    from loadgen.clients.request.tracing import Trace
    from loadgen.clients.response.replies import Reply
    from loadgen.dsl.data import feed
    from loadgen.dsl.distributions import empirical, exponential, fixed, lognormal, normal, uniform
    from loadgen.dsl.executors.capacity import hold, search
    from loadgen.dsl.executors.custom import ClosedExecutor, OpenExecutor
    from loadgen.dsl.executors.named_shapes import break_point, soak, spike, stress
    from loadgen.dsl.executors.recorded_traffic_load import replay
    from loadgen.dsl.executors.standard import arrivals, iterations, users
    from loadgen.dsl.executors.steering_executor import Decision, Finding, Look, SteeringExecutor
    from loadgen.dsl.graphs.graph import Graph, graph
    from loadgen.dsl.graphs.nodes_and_edges import Edges, Node, edge, leave, node
    from loadgen.dsl.journey import Journey, journey
    from loadgen.dsl.metric import counter, gauge, rate, trend
    from loadgen.dsl.payload import blob, file
    from loadgen.dsl.plans.loads import Load
    from loadgen.dsl.plans.param import param
    from loadgen.dsl.plans.plan import Plan
    from loadgen.dsl.plans.slo import error_ratio, p
    from loadgen.dsl.pytest_trial import Trial
    from loadgen.dsl.secret import secret
    from loadgen.dsl.users.user import User, UserWith
    from loadgen.errors import ExpectFailed, IterationEnded, RequestFailed, ScenarioError
    from loadgen.report.open_in_notebook import open_run

__all__ = [
    "ClosedExecutor",
    "Decision",
    "Edges",
    "ExpectFailed",
    "Finding",
    "Graph",
    "Http",
    "IterationEnded",
    "Journey",
    "Load",
    "Look",
    "Node",
    "OpenExecutor",
    "Plan",
    "Reply",
    "RequestFailed",
    "ScenarioError",
    "SteeringExecutor",
    "Trace",
    "Trial",
    "User",
    "UserWith",
    "arrivals",
    "blob",
    "break_point",
    "counter",
    "edge",
    "empirical",
    "error_ratio",
    "exponential",
    "feed",
    "file",
    "fixed",
    "gauge",
    "gql",
    "graph",
    "hold",
    "iterations",
    "journey",
    "leave",
    "lognormal",
    "node",
    "normal",
    "open_run",
    "p",
    "param",
    "rate",
    "replay",
    "reply",
    "search",
    "secret",
    "soak",
    "spike",
    "stress",
    "trend",
    "uniform",
    "users",
]

_MODULES = {
    "ClosedExecutor": "dsl.executors.custom",
    "Decision": "dsl.executors.steering",
    "Edges": "dsl.graphs.node",
    "ExpectFailed": "errors",
    "Finding": "dsl.executors.steering",
    "Graph": "dsl.graphs.graph",
    "Http": "clients.net.settings",
    "IterationEnded": "errors",
    "Journey": "dsl.journey",
    "Load": "dsl.plans.loads",
    "Look": "dsl.executors.steering",
    "Node": "dsl.graphs.node",
    "OpenExecutor": "dsl.executors.custom",
    "Plan": "dsl.plans.plan",
    "Reply": "clients.response.replies",
    "RequestFailed": "errors",
    "ScenarioError": "errors",
    "SteeringExecutor": "dsl.executors.steering",
    "Trace": "clients.request.tracing",
    "Trial": "dsl.trial",
    "User": "dsl.users.user",
    "UserWith": "dsl.users.user",
    "arrivals": "dsl.executors.standard",
    "blob": "dsl.payload",
    "break_point": "dsl.executors.named_shapes",
    "counter": "dsl.metric",
    "edge": "dsl.graphs.node",
    "empirical": "dsl.distributions",
    "error_ratio": "dsl.plans.slo",
    "exponential": "dsl.distributions",
    "feed": "dsl.data",
    "file": "dsl.payload",
    "fixed": "dsl.distributions",
    "gauge": "dsl.metric",
    "gql": "clients.graphql",
    "graph": "dsl.graphs.graph",
    "hold": "dsl.executors.capacity",
    "iterations": "dsl.executors.standard",
    "journey": "dsl.journey",
    "leave": "dsl.graphs.node",
    "lognormal": "dsl.distributions",
    "node": "dsl.graphs.node",
    "normal": "dsl.distributions",
    "open_run": "report.notebook",
    "p": "dsl.plans.slo",
    "param": "dsl.plans.param",
    "rate": "dsl.metric",
    "replay": "dsl.executors.replay",
    "reply": "clients.net.canned_replies",
    "search": "dsl.executors.capacity",
    "secret": "dsl.secret",
    "soak": "dsl.executors.named_shapes",
    "spike": "dsl.executors.named_shapes",
    "stress": "dsl.executors.named_shapes",
    "trend": "dsl.metric",
    "uniform": "dsl.distributions",
    "users": "dsl.executors.standard",
}
"""The module of each name, without `loadgen.`."""


def __getattr__(name: str) -> object:
    """Import and return a public name. Python calls this once for each name, which is a plain attribute from then on.

    Raises AttributeError for an unknown name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'loadgen' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"loadgen.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
