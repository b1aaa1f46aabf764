"""Ends a Locust test after a number of iterations. Locust ends by time only, so counts would differ from run to run."""

from collections import Counter
from functools import wraps

import gevent
from locust import events
from locust.exception import StopUser
from locust.runners import WorkerRunner


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
    runner.quit()


_environments = []
