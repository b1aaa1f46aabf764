"""Ends a Locust test after a number of iterations. Locust ends by time only, so counts would differ from run to run."""

from collections import Counter
from functools import wraps

import gevent
from locust import events
from locust.exception import StopUser
from locust.runners import WORKER_REPORT_INTERVAL, MasterRunner, WorkerRunner


def counted(iterations):
    """Let each user run a task `iterations` times, and then stop."""

    def decorate(task):
        done = Counter()

        @wraps(task)
        def run(user):
            if done[id(user)] == iterations:
                raise StopUser
            done[id(user)] += 1
            task(user)

        return run

    return decorate


@events.spawning_complete.add_listener
def watch(user_count, **_):
    gevent.spawn(_quit_when_all_have_stopped)


@events.init.add_listener
def remember(environment, **_):
    _environments.append(environment)


def _quit_when_all_have_stopped():
    runner = _environments[0].runner
    if isinstance(runner, WorkerRunner):
        return
    while runner.user_count:
        gevent.sleep(0.1)
    if isinstance(runner, MasterRunner):
        _wait_for_reports(runner)
    runner.quit()


def _wait_for_reports(runner):
    """Wait until the workers, which report every 3 s, have reported requests, and no further ones twice in a row."""
    before, quiet = -1, 0
    while quiet < 2:
        requests = runner.stats.total.num_requests
        quiet = quiet + 1 if requests == before and requests > 0 else 0
        before = requests
        gevent.sleep(WORKER_REPORT_INTERVAL)


_environments = []
