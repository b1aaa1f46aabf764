"""The names of the environment variables that contain the values of secrets."""

from __future__ import annotations

import re

__all__ = ["variable_of"]


def variable_of(name: str) -> str:
    """Return the name of the environment variable that holds a secret: "api-token" -> LOADGEN_SECRET_API_TOKEN."""
    return "LOADGEN_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
