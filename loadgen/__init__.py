"""Load tests as scenarios in typed async Python, with exact percentiles of the whole fleet during the run."""

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
from loadgen.dsl.executors.replay import replay
from loadgen.dsl.executors.standard import arrivals, iterations, users
from loadgen.dsl.executors.steering import Decision, Finding, Look, SteeringExecutor
from loadgen.dsl.graphs.graph import Graph, graph
from loadgen.dsl.graphs.node import Edges, Node, edge, leave, node
from loadgen.dsl.journey import Journey, journey
from loadgen.dsl.metric import counter, gauge, rate, trend
from loadgen.dsl.payload import blob, file
from loadgen.dsl.plans.loads import Load
from loadgen.dsl.plans.param import param
from loadgen.dsl.plans.plan import Plan
from loadgen.dsl.plans.slo import error_ratio, p
from loadgen.dsl.secret import secret
from loadgen.dsl.trial import Trial
from loadgen.dsl.users.user import User, UserWith
from loadgen.errors import ExpectFailed, IterationEnded, RequestFailed, ScenarioError
from loadgen.report.notebook import open_run

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
