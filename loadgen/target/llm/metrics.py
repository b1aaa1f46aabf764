"""The counts of the server, and its page of Prometheus text under the names of vLLM or SGLang."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any, Final

from loadgen.target.llm.config import LlmConfig
from loadgen.target.llm.prefix_cache import PrefixCache
from loadgen.target.llm.send_loop import Stream

__all__ = ["Metrics"]

_TTFT_S: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_ITL_S: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_E2E_S: Final = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0)
"""The bounds of vLLM's histograms."""


class _Histogram:
    """Counts of values in seconds by upper bound."""

    __slots__ = ("bounds", "counts", "sum_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def add(self, ns: int) -> None:
        seconds = ns / 1e9
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_s += seconds

    def lines(self, name: str, labels: str) -> list[str]:
        found, total = [f"# TYPE {name} histogram"], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            found.append(f'{name}_bucket{{{labels},le="{bound}"}} {float(total)}')
        found += [f"{name}_sum{{{labels}}} {self.sum_s}", f"{name}_count{{{labels}}} {float(total)}"]
        return found


class Metrics:
    """The counts of the server since its start."""

    def __init__(self, config: LlmConfig) -> None:
        self._config = config
        self.prompt_tokens = self.generation_tokens = 0
        self._answers: Counter[tuple[str, int]] = Counter()
        self._aborted: Counter[str] = Counter()
        self._ttft, self._itl = _Histogram(_TTFT_S), _Histogram(_ITL_S)
        self._e2e, self._queue = _Histogram(_E2E_S), _Histogram(_E2E_S)
        self._prefill, self._decode = _Histogram(_E2E_S), _Histogram(_E2E_S)

    def began(self, waited_ns: int) -> None:
        """Count a request that got its slot after a wait."""
        self._queue.add(waited_ns)

    def sent_tokens(self, stream: Stream, tokens: int, now_ns: int) -> None:
        """HOT, once a send with tokens: 0.3 µs (timeit). Count the tokens and the time before them."""
        if stream.last_token_ns:
            self._itl.add(now_ns - stream.last_token_ns)
        else:
            self._ttft.add(now_ns - stream.arrived_ns)
            stream.first_token_ns = now_ns
        stream.last_token_ns = now_ns
        self.generation_tokens += tokens

    def ended(self, stream: Stream, took_ns: int) -> None:
        """Count a complete answer."""
        self._e2e.add(took_ns)
        if stream.first_token_ns:
            self._prefill.add(stream.first_token_ns - stream.base_ns)
            self._decode.add(stream.last_token_ns - stream.first_token_ns)

    def answered(self, path: str, status: int) -> None:
        self._answers[path, status] += 1

    def aborted(self, path: str) -> None:
        """Count a request whose client left before its end."""
        self._aborted[path] += 1

    def counts(self) -> dict[str, Any]:
        """Return the counts as a JSON object."""
        answers: dict[str, dict[str, int]] = {}
        for (path, status), count in sorted(self._answers.items()):
            answers.setdefault(path, {})[str(status)] = count
        return {
            "answers": answers,
            "aborted": dict(self._aborted),
            "prompt_tokens": self.prompt_tokens,
            "generation_tokens": self.generation_tokens,
        }

    def summary(self) -> str:
        """Return one line for people."""
        done = sum(count for (_, status), count in self._answers.items() if status == 200)
        failed = sum(self._answers.values()) - done
        return (
            f"{done:,} answered, {failed:,} rejected, {sum(self._aborted.values()):,} aborted;"
            f" {self.prompt_tokens:,} prompt tokens, {self.generation_tokens:,} generated tokens"
        )

    def as_text(self, running: int, waiting: int, cache: PrefixCache) -> str:
        """Return the page of Prometheus text."""
        model = self._config.models[0].replace("\\", "\\\\").replace('"', '\\"')
        sglang = self._config.engine == "sglang"
        labels = f'model_name="{model}"' if sglang else f'engine="0",model_name="{model}"'
        queried, hit = cache.queried_tokens, cache.hit_tokens
        gauges: dict[str, float]
        if sglang:
            gauges = {
                "num_running_reqs": running,
                "num_queue_reqs": waiting,
                "token_usage": cache.used_ratio,
                "cache_hit_rate": hit / queried if queried else 0.0,
                "gen_throughput": 0.0,
            }
            counters = {"prompt_tokens_total": self.prompt_tokens, "generation_tokens_total": self.generation_tokens}
        else:
            gauges = {
                "num_requests_running": running,
                "num_requests_waiting": waiting,
                "kv_cache_usage_perc": cache.used_ratio,
            }
            counters = {
                "prompt_tokens_total": self.prompt_tokens,
                "generation_tokens_total": self.generation_tokens,
                "prefix_cache_queries_total": queried,
                "prefix_cache_hits_total": hit,
                "num_preemptions_total": 0,
            }
        prefix = "sglang:" if sglang else "vllm:"
        lines: list[str] = []
        for kind, values in (("gauge", gauges), ("counter", counters)):
            for name, value in values.items():
                lines += [f"# TYPE {prefix}{name} {kind}", f"{prefix}{name}{{{labels}}} {float(value)}"]
        for name, histogram in (
            ("time_to_first_token_seconds", self._ttft),
            ("inter_token_latency_seconds", self._itl),
            ("e2e_request_latency_seconds", self._e2e),
            ("queue_time_seconds" if sglang else "request_queue_time_seconds", self._queue),
            *(() if sglang else (("request_prefill_time_seconds", self._prefill),)),
            *(() if sglang else (("request_decode_time_seconds", self._decode),)),
        ):
            lines += histogram.lines(prefix + name, labels)
        return "\n".join(lines) + "\n"
