"""Read a file with one trace a line and print the figures as JSON: `python -m bench.span_formats_once FILE`."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from time import process_time

from loadgen.traces.convert.otlp_json import traces_of_otlp_json


def main(name: str) -> None:
    """Read each line, drop its trace, and print traces, CPU seconds and the largest memory."""
    began_s, traces = process_time(), 0
    with Path(name).open("rb") as file:
        for line in file:
            traces += len(traces_of_otlp_json(line))
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"traces": traces, "cpu_s": process_time() - began_s, "memory_mib": memory_mib}))


if __name__ == "__main__":
    main(*sys.argv[1:])
