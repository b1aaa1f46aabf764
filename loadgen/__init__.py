"""loadgen: scenarios in typed async Python, exact global percentiles while the run is going on."""

from loadgen.clients.canned import reply
from loadgen.clients.graphql import gql
from loadgen.clients.replies import Reply
from loadgen.clients.settings import Http
from loadgen.clients.tracing import Trace
from loadgen.dsl import feed
from loadgen.dsl.authored import ClosedExecutor, OpenExecutor
from loadgen.dsl.chance import empirical, exponential, fixed, lognormal, normal, uniform
from loadgen.dsl.graph import Graph, graph
from loadgen.dsl.journey import Journey, journey
from loadgen.dsl.lanes import Load
from loadgen.dsl.limit import hold, search
from loadgen.dsl.load import arrivals, iterations, users
from loadgen.dsl.metric import counter, gauge, rate, trend
from loadgen.dsl.node import Edges, Node, edge, leave, node
from loadgen.dsl.param import param
from loadgen.dsl.payload import blob, file
from loadgen.dsl.plan import Plan
from loadgen.dsl.replay import replay
from loadgen.dsl.secret import secret
from loadgen.dsl.shapes import break_point, soak, spike, stress
from loadgen.dsl.slo import error_ratio, p
from loadgen.dsl.steering import Decision, Finding, Look, SteeringExecutor
from loadgen.dsl.trial import Trial
from loadgen.dsl.user import User, UserWith
from loadgen.errors import ExpectFailed, IterationEnded, RequestFailed, ScenarioError
from loadgen.report.opened import open_run

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
