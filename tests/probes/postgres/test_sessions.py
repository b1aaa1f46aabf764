"""Sessions of a sample: groups, the profile of waits, and the comparison with the time of statements."""

from __future__ import annotations

from loadgen.probes.postgres.sessions import agreement, session_of, sessions_body, wait_increase


def row(pid: str, state: str, wait_type: str | None = None, wait: str | None = None) -> tuple[str | None, ...]:
    times = ("1.5", "2.5", "3.5")
    return pid, "shop\x1b", state, wait_type, wait, "-7", *times, "SELECT 1", "client backend", "app", "shop"


def test_sessions_are_counted_by_state_wait_statement_and_application() -> None:
    rows = [row("1", "active", "Lock", "tuple"), row("2", "active", "Lock", "tuple"), row("3", "active")]

    assert sessions_body(map(session_of, rows)) == {
        "groups": [["active", "Lock:tuple", "-7", "shop\\x1b", 2], ["active", "", "-7", "shop\\x1b", 1]]
    }


def test_a_session_that_is_idle_in_a_transaction_does_not_wait_for_the_server() -> None:
    one = session_of(row("1", "idle in transaction", "Client", "ClientRead"))

    assert sessions_body([one])["groups"] == [["idle in transaction", "", "-7", "shop\\x1b", 1]]


def test_more_groups_than_are_stored_are_counted() -> None:
    rows = [session_of((*row(str(n), "active")[:1], f"app{n}", *row(str(n), "active")[2:])) for n in range(150)]
    body = sessions_body(rows)

    assert (len(body["groups"]), body["left_out"]) == (100, 50)


def test_the_profile_of_waits_has_increases_and_nothing_after_a_reset() -> None:
    key, other = ("Lock", "tuple", 1), ("IO", "DataFileRead", 2)

    assert wait_increase({key: 5}, {key: 9, other: 2}) == {key: 4, other: 2}
    assert wait_increase({key: 5}, {key: 4}) is None
    assert wait_increase({key: 5}, {}) is None


def test_active_sessions_agree_with_the_time_of_statements_within_the_sampling_error() -> None:
    active = [n % 5 for n in range(60)]  # a mean of 2
    found = agreement(active, exec_ms=2.0 * 60_000, length_s=60)

    assert found is not None
    assert (found.average, found.by_time, found.agrees) == (2.0, 2.0, True)


def test_active_sessions_that_do_not_execute_disagree_with_the_time_of_statements() -> None:
    found = agreement([4] * 60, exec_ms=60_000, length_s=60)

    assert found is not None
    assert not found.agrees


def test_few_samples_are_not_compared() -> None:
    assert agreement([1] * 19, 1.0, 19.0) is None
