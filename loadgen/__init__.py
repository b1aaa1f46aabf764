"""loadgen: scenarios in typed async Python, exact global percentiles while the run is going on."""

from loadgen.clients.canned import reply
from loadgen.dsl import feed
from loadgen.dsl.journey import Journey, journey
from loadgen.dsl.load import arrivals, iterations, users
from loadgen.dsl.param import param
from loadgen.dsl.plan import Plan
from loadgen.dsl.slo import error_ratio, p
from loadgen.dsl.trial import Trial
from loadgen.dsl.user import User
from loadgen.errors import ExpectFailed, IterationEnded, RequestFailed, ScenarioError

__all__ = [
    "ExpectFailed",
    "IterationEnded",
    "Journey",
    "Plan",
    "RequestFailed",
    "ScenarioError",
    "Trial",
    "User",
    "arrivals",
    "error_ratio",
    "feed",
    "iterations",
    "journey",
    "p",
    "param",
    "reply",
    "users",
]
