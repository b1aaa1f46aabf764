"""Print the tables of docs/how-often-wrong.md, or write them into the page.

python -m tools.how_often_wrong                          # all, 2,000 trials each: an hour on two cores
python -m tools.how_often_wrong gate intervals --trials 200
python -m tools.how_often_wrong --write                  # into docs/how-often-wrong.md
"""

from __future__ import annotations

import argparse
import re
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from tools.how_often_wrong.table import Table

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-often-wrong.md"
PARTS: Final = (
    "gate",
    "intervals",
    "change_points",
    "error_ratios",
    "search",
    "combined_searches",
    "objectives",
    "sure_values",
)
SEED: Final = 17
FEW: Final = {"search": 300, "combined_searches": 60}
"""Parts with fewer trials than the others, since a trial is a long simulation."""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS) + "; default: all")
    ask.add_argument("--trials", type=int, default=2_000)
    ask.add_argument("--seed", type=int, default=SEED)
    ask.add_argument("--write", action="store_true", help="replace the tables of docs/how-often-wrong.md")
    given = ask.parse_args()
    for part in given.parts or PARTS:
        began = time.monotonic()
        trials = min(given.trials, FEW.get(part, given.trials))
        tables: list[Table] = import_module(f"tools.how_often_wrong.{part}").tables(trials, given.seed)
        command = f"python -m tools.how_often_wrong {part} --trials {trials} --seed {given.seed}"
        text = "\n\n".join([f"`{command}`", *(table.markdown() for table in tables)])
        print(f"{text}\n\n({part}: {time.monotonic() - began:.0f} s)\n", flush=True)
        if given.write:
            _write(part, text)


def _write(part: str, text: str) -> None:
    """Replace the text between the markers of this part."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    found, count = re.subn(f"({begin}).*?({end})", lambda at: f"{at[1]}\n{text}\n{at[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{PAGE.name} has no place for {part}: write {begin} and {end} into it")
    PAGE.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
