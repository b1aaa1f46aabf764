"""Writes shoppers.csv: `python scenarios/data/make_shoppers.py`. The same 2,000 rows each time."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from random import Random

ROWS = 2_000
"""Enough for 50 s of `checkout.py`, which uses no row twice."""
SKUS = 200
_GIVEN = ("ada", "alan", "barbara", "dennis", "donald", "edsger", "frances", "grace", "john", "ken", "radia", "tony")
_FAMILY = ("baker", "carter", "cooper", "draper", "fisher", "fuller", "hunter", "mason", "miller", "potter", "smith")


def shoppers_csv() -> str:
    """Return the contents of shoppers.csv. Products follow a long-tailed distribution: few of them are bought often."""
    random = Random(20)  # no secret depends on it
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("email", "password", "sku"))
    for n in range(1, ROWS + 1):
        email = f"{random.choice(_GIVEN)}.{random.choice(_FAMILY)}.{n}@shop.example"
        password = "".join(random.choices("abcdefghjkmnpqrstuvwxyz23456789", k=10))
        sku = min(SKUS, int(random.paretovariate(0.6)))
        rows.writerow((email, password, f"sku-{sku:04}"))
    return text.getvalue()


if __name__ == "__main__":
    Path(__file__).with_name("shoppers.csv").write_text(shoppers_csv(), encoding="utf-8")
