"""`loadgen new`: writes a scenario to start from."""

from __future__ import annotations

import sys
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.atomic_files import atomic_write
from loadgen.errors import StorageError, UsageError
from loadgen.secret_files import UMASK_ONLY
from loadgen_controller.console_output import echo

NAME = "new"
EXAMPLES = """[bold]Examples[/bold]

loadgen new browse

loadgen new scenarios/browse.py"""

SCENARIO = '''"""{title}: a first scenario, for the demo shop of `loadgen target`."""

from loadgen import Plan, User, arrivals, error_ratio, journey, p


@journey  # what one user does, once
async def {name}(user: User) -> None:
    async with user.step("home"):  # a named, timed part
        await user.http.get("/", expect=200)  # anything but 200 is an error
    await user.think(1, 3)  # a pause of 1 to 3 s: in no response time
    async with user.step("product"):
        await user.http.get("/products/sku-0001", name="/products/{{sku}}", expect=200)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=arrivals("10/s").hold("20s"),  # 10 new users a second, however slow the target gets
    mix={name},
    slos=[p(95) < "300ms", error_ratio() < "1%"],
)
'''

_IN_THE_FILE: Final = {"arrivals", "error_ratio", "journey", "p", "plan", "user"}
_MODULES: Final = sys.stdlib_module_names | {"loadgen", "loadgen_agent", "loadgen_controller"}


def main(
    name: Annotated[str, typer.Argument(help="Name of the scenario, or the path of its file.")],
) -> None:
    """Write a commented scenario of 20 lines that runs against the demo shop of `loadgen target`.

    An existing file is never overwritten.
    """
    path = Path(name if name.endswith(".py") else f"{name}.py")
    journey = path.stem.replace("-", "_").lower()
    if not journey.isidentifier() or journey.startswith("_"):
        raise UsageError(
            f"{path.stem!r} cannot be the name of a journey",
            hint="use letters, digits and '_', and begin with a letter",
        )
    if iskeyword(journey) or journey in _IN_THE_FILE:
        raise UsageError(
            f"{journey!r} already has a meaning in scenarios", hint=f"choose another name, e.g. {journey}_shop"
        )
    if path.stem in _MODULES:
        raise UsageError(
            f"{path.name} would hide the Python module {path.stem} from the files next to it",
            hint=f"choose another name, e.g. {path.stem}_shop",
        )
    write_new(path, SCENARIO.format(title=path.stem.replace("_", " ").capitalize(), name=journey))
    for line in (f"wrote {path}. Now, in two terminals:", "  loadgen target --port 8080", f"  loadgen run {path}"):
        echo(line)


def write_new(path: Path, text: str) -> None:
    """Write a new file completely or not at all, in a new folder if it has none.

    Raises:
        UsageError: the file exists; it is not changed.
        StorageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode(), UMASK_ONLY, is_exclusive=True, may_lack_links=True)
    except FileExistsError:
        raise UsageError(f"{path} already exists", hint="choose another name; the file was not changed") from None
    except OSError as exc:
        raise StorageError(
            f"cannot write {path}: {exc.strerror or exc}", hint="name a file in a folder that you can write to"
        ) from exc
