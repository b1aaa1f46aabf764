"""Limits numerical libraries to one thread. The programs import this module before anything that imports numpy.

Our matrices are small. With a thread for each core, OpenBLAS (in numpy and scipy from PyPI) and MKL (in those from
conda) gain nothing: threads that wait for work spin, so `loadgen model` takes 2.7 s of CPU with one thread, and 4.7 to
6.1 s with two. On a machine that sends load, these cores are missing.

A library cannot do this for the programs of others, so `import loadgen` in a notebook changes nothing. Variables that
the user has set stay. OMP_NUM_THREADS is not set, because it also limits the code of scenarios; OpenBLAS prefers its
own variable to it.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["VARIABLES", "use_one_thread"]

VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def use_one_thread() -> None:
    """Set the variables that are not set, for this process and its children. OMP_NUM_THREADS of the user counts, too.

    Both libraries read them when they are loaded; later calls have no effect.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    for name in VARIABLES:
        os.environ.setdefault(name, "1")


use_one_thread()
