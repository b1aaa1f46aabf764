"""A program that disturbs others on its core: it computes for 1 ms, sleeps for 1 ms, and so on, until it is killed."""

from time import perf_counter_ns, sleep

from bench.machine import run_first
from loadgen.units import NS_PER_MS

if __name__ == "__main__":
    run_first()
    while True:
        until_ns = perf_counter_ns() + NS_PER_MS
        while perf_counter_ns() < until_ns:
            pass
        sleep(0.001)
