"""Queueing formulas: closed forms, published tables, and simulated queues."""

from __future__ import annotations

import heapq
from math import exp, inf, log, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.queueing import erlang_b, erlang_c, general_queue, highest_rate, markov_queue


def test_erlang_c_of_ten_servers_and_eight_erlang_is_the_known_answer() -> None:
    queue = markov_queue(rate=8, service_rate=1, servers=10)
    assert queue.share_waiting == pytest.approx(0.4091801508, abs=5e-11)
    assert queue.mean_wait_s == pytest.approx(0.2045900754, abs=5e-11)
    assert queue.mean_response_s == pytest.approx(1.2045900754, abs=5e-11)
    assert queue.utilisation == pytest.approx(0.8)
    assert markov_queue(rate=800, service_rate=100, servers=10).mean_wait_s == pytest.approx(0.002045900754, abs=1e-12)


@pytest.mark.parametrize(
    ("servers", "offered"), [(1, 0.0101), (5, 1.3608), (10, 4.4612), (20, 12.0306), (50, 37.9014), (100, 84.0642)]
)
def test_erlang_b_is_one_percent_at_the_offered_loads_of_the_published_table(servers: int, offered: float) -> None:
    assert erlang_b(servers, offered) == pytest.approx(0.01, abs=2e-6)


@given(st.integers(1, 80), st.floats(0.001, 0.999))
def test_erlang_c_equals_its_sum(servers: int, utilisation: float) -> None:
    offered = servers * utilisation
    terms = np.cumprod([1.0, *(offered / k for k in range(1, servers + 1))])
    last = terms[-1] * servers / (servers - offered)
    assert erlang_c(servers, offered) == pytest.approx(last / (terms[:-1].sum() + last), rel=1e-9)


def test_one_server_has_the_closed_forms_of_m_m_1() -> None:
    queue = markov_queue(rate=80, service_rate=100)
    assert queue.model == "M/M/1"
    assert queue.share_waiting == pytest.approx(0.8)
    assert queue.mean_response_s == pytest.approx(1 / 20)
    assert queue.mean_in_system == pytest.approx(4)
    assert queue.mean_waiting == pytest.approx(3.2)
    assert queue.response_quantile_s(0.99) == pytest.approx(log(100) / 20)
    assert queue.wait_quantile_s(0.99) == pytest.approx(log(80) / 20)
    assert queue.wait_quantile_s(0.1) == 0


def test_m_m_1_with_100_services_a_second_holds_the_limit_to_90_7897() -> None:
    found = highest_rate(0.5, 0.99, 100)
    assert found.value == pytest.approx(90.7897, abs=5e-5)
    assert markov_queue(found.value, 100).response_quantile_s(0.99) == pytest.approx(0.5)


@pytest.mark.parametrize("servers", [2, 4, 100, 10_000])
def test_at_the_highest_rate_the_percentile_is_the_limit(servers: int) -> None:
    found = highest_rate(0.5, 0.99, 10.0, servers)
    assert 0 < found.value < 10 * servers
    assert markov_queue(found.value, 10.0, servers).response_quantile_s(0.99) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("servers", [1, 4])
def test_no_rate_keeps_a_limit_below_the_service_alone(servers: int) -> None:
    assert highest_rate(0.01, 0.99, 10.0, servers).value == 0


def test_a_percentile_is_continuous_where_both_rates_of_its_formula_are_equal() -> None:
    """Two servers: the wait ends at rate 2 µ - λ, which equals µ where λ = µ."""
    at, beside = (markov_queue(rate, 1.0, 2).response_quantile_s(0.99) for rate in (1.0, 1.0 + 1e-9))
    assert at == pytest.approx(beside, rel=1e-6)
    assert markov_queue(1.0, 1.0, 2).response_above(3.0) == pytest.approx(exp(-3) * (1 + 3 / 3))


def test_ten_thousand_servers_lose_no_digits() -> None:
    from scipy import stats

    blocked = stats.poisson.pmf(10_000, 9_900) / stats.poisson.cdf(10_000, 9_900)
    assert erlang_b(10_000, 9_900) == pytest.approx(blocked, rel=1e-7)
    assert 0 < erlang_c(10_000, 9_999.999) < 1
    assert erlang_c(10_000, 100) == 0


@given(st.integers(1, 200), st.floats(0.01, 0.995), st.floats(0.01, 0.9999))
def test_a_quantile_is_where_its_share_of_responses_ends(servers: int, utilisation: float, quantile: float) -> None:
    queue = markov_queue(utilisation * servers * 10, 10.0, servers)
    assert queue.response_above(queue.response_quantile_s(quantile)) == pytest.approx(1 - quantile, rel=1e-6)


def test_pollaczek_khinchine_is_exact_and_constant_service_halves_the_wait() -> None:
    constant = general_queue(80, 0.01, cv_service=0)
    assert constant.is_exact
    assert constant.model == "M/G/1 (Pollaczek-Khinchine)"
    assert constant.mean_wait_s == pytest.approx(0.8 * 0.01 / (2 * 0.2))
    assert general_queue(80, 0.01).mean_wait_s == pytest.approx(markov_queue(80, 100).mean_wait_s)


def test_kingmans_wait_grows_with_both_variations() -> None:
    bursts = general_queue(80, 0.01, cv_arrivals=3, cv_service=1)
    assert (bursts.model, bursts.is_exact) == ("G/G/1 (Kingman)", False)
    assert bursts.mean_wait_s == pytest.approx(0.8 / 0.2 * (9 + 1) / 2 * 0.01)
    assert any("approximation" in sentence for sentence in bursts.assumptions)


def test_allen_cunneen_has_the_wait_of_erlang_c_times_the_variations() -> None:
    queue = general_queue(8, 1.0, servers=10, cv_arrivals=2, cv_service=0.5)
    assert queue.model == "G/G/10 (Allen-Cunneen)"
    assert queue.mean_wait_s == pytest.approx(0.2045900754 * (4 + 0.25) / 2, rel=1e-9)


def test_each_result_states_its_assumptions_as_sentences() -> None:
    for found in (markov_queue(8, 1, 10), general_queue(8, 1.0, servers=10), highest_rate(5, 0.99, 1, 10)):
        assert len(found.assumptions) >= 4
        assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in found.assumptions)


def test_all_errors_of_the_arguments_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match=r"rate is -1.*service_rate is 0.*servers is 0") as caught:
        markov_queue(-1, 0, 0)
    assert "an integer from 1 to 1,000,000" in str(caught.value)
    for bad in (nan, inf, "8", True):
        with pytest.raises(ValueError, match="rate is"):
            markov_queue(bad, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="quantile is 1"):
        markov_queue(1, 2).response_quantile_s(1)


@pytest.mark.parametrize("rate", [100, 120])
def test_a_rate_that_the_servers_do_not_serve_is_an_error(rate: float) -> None:
    with pytest.raises(ValueError, match="grow without a limit"):
        markov_queue(rate, 10, 10)
    with pytest.raises(ValueError, match="grow without a limit"):
        general_queue(rate, 0.1, servers=10)


def _simulated(gaps: np.ndarray, services: np.ndarray, servers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return waits and responses of a first-come queue, without the first tenth."""
    free = [0.0] * servers
    now, waits = 0.0, []
    for gap, service in zip(gaps.tolist(), services.tolist(), strict=True):
        now += gap
        start = max(now, heapq.heappop(free))
        waits.append(start - now)
        heapq.heappush(free, start + service)
    found = np.array(waits)
    cut = len(found) // 10
    return found[cut:], found[cut:] + services[cut:]


@pytest.mark.slow
@pytest.mark.parametrize("servers", [1, 4, 10])
def test_a_simulated_queue_has_the_mean_and_the_percentile_of_the_formula(servers: int) -> None:
    rng = np.random.default_rng(servers)
    n, rate = 1_000_000, 0.8 * servers
    waits, responses = _simulated(rng.exponential(1 / rate, n), rng.exponential(1.0, n), servers)
    queue = markov_queue(rate, 1.0, servers)
    assert waits.mean() == pytest.approx(queue.mean_wait_s, rel=0.05)
    assert np.mean(waits > 0) == pytest.approx(queue.share_waiting, rel=0.02)
    assert np.quantile(responses, 0.99) == pytest.approx(queue.response_quantile_s(0.99), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("servers", "cv_arrivals", "cv_service"), [(1, 1.5, 0.5), (1, 0.5, 1.5), (4, 1.5, 1.5)])
def test_the_approximations_are_near_a_simulated_queue_at_high_load(
    servers: int, cv_arrivals: float, cv_service: float
) -> None:
    rng = np.random.default_rng(servers)
    n, rate = 1_000_000, 0.9 * servers

    def gamma(mean: float, cv: float) -> np.ndarray:
        return rng.gamma(1 / cv**2, mean * cv**2, n)

    waits, _ = _simulated(gamma(1 / rate, cv_arrivals), gamma(1.0, cv_service), servers)
    found = general_queue(rate, 1.0, servers=servers, cv_arrivals=cv_arrivals, cv_service=cv_service)
    assert waits.mean() == pytest.approx(found.mean_wait_s, rel=0.15)
