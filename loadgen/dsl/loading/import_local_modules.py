"""Imports modules from the scenario's folder by plain name, and removes them again.

A scenario imports `helpers.py` in its own folder with `import helpers`, here and on
every agent. `sys.path` stays unchanged. Instead, a finder serves only names that the
scenario's files import and that are in its folder. So a file called `queue.py` there
cannot replace the standard library's module for other code. A second finder, used
last, finds modules that are imported by computed names.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from loadgen.dsl.loading.other_tools import hint_of_import, hint_of_module
from loadgen.dsl.loading.source_analysis import Import, Source, read_source
from loadgen.errors import Fault, ScenarioError

__all__ = ["Siblings", "did_you_mean_module"]

_OURS = ("loadgen", "loadgen_agent", "loadgen_controller")


class Siblings:
    """The imports of one scenario's files. Only one scenario at a time is active in a process.

    sources: all user files that take part, parsed; the scenario comes first.
    faults, warnings: imports that cannot work, and imports that work here but maybe not on an agent.
    """

    _active: Siblings | None = None

    def __init__(self, scenario: Source) -> None:
        self.root = scenario.path.parent
        self.sources: dict[Path, Source] = {scenario.path: scenario}
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []
        self.names: set[str] = set()
        """Imported top-level modules and packages that are in the scenario's folder."""
        self._replaced: dict[str, ModuleType] = {}
        self._before: set[str] = set()
        self._last = _LastResort(self.root)
        self._follow(scenario, package="")

    # -- while the scenario is loaded and run ---------------------------------------------------

    def activate(self) -> None:
        """From now on let Python import the modules `names` from this scenario's folder.

        The modules of the scenario that was loaded before are removed.
        """
        if Siblings._active is not None:
            Siblings._active._deactivate()
        Siblings._active = self
        # A file may be newer than the listing of its folder that Python's finders keep.
        importlib.invalidate_caches()
        self._before = set(sys.modules)
        own = [name for name in sys.modules if name.partition(".")[0] in self.names] if self.names else []
        for name in own:
            self._replaced[name] = sys.modules.pop(name)
            self._before.discard(name)
        sys.meta_path.insert(0, self)
        sys.meta_path.append(self._last)

    def _deactivate(self) -> None:
        for finder in (self, self._last):
            if finder in sys.meta_path:
                sys.meta_path.remove(finder)
        for name, module in self._new():
            if name.partition(".")[0] in self.names or self._is_within(module):
                del sys.modules[name]
        sys.modules.update(self._replaced)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec with which Python imports a module of the scenario's folder; None for any other module.

        Python calls this method for each finder in `sys.meta_path`.
        """
        return PathFinder.find_spec(name, [str(self.root)]) if path is None and name in self.names else None

    def files(self) -> set[Path]:
        """Return the paths of the scenario's file and of all modules in its folder that have been imported."""
        found = set(self.sources)
        for _, module in self._new():
            if self._is_within(module) and module.__file__ is not None:
                found.add(Path(module.__file__))
        return {path for path in found if path.suffix == ".py"}

    def module(self, name: str) -> Source | None:
        """Return the file of a module of the scenario's folder that takes part; None for another module."""
        folder = self.root.joinpath(*name.split("."))
        return self.sources.get(folder / "__init__.py") or self.sources.get(folder.with_name(folder.name + ".py"))

    def namespaces(self) -> dict[Path, Mapping[str, Any]]:
        """Return the names of each imported module of the scenario, with their values, by the module's file."""
        files = {str(path): path for path in self.sources}
        modules = [(getattr(one, "__file__", None), one) for _, one in self._new()]
        return {files[file]: vars(one) for file, one in modules if file in files}

    def _new(self) -> list[tuple[str, ModuleType]]:
        """Return the modules that were imported since this scenario became active, sorted by name, with their names.

        A process has thousands of modules, so a loop over all of them would make each load slower.
        """
        return [(name, sys.modules[name]) for name in sorted(set(sys.modules) - self._before) if name in sys.modules]

    def _is_within(self, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or _is_installed(Path(file)):
            return False
        return Path(file).is_relative_to(self.root)

    # -- reading imports ------------------------------------------------------------------------

    def _follow(self, source: Source, package: str) -> None:
        """Check each import of a file and read the imported files of the scenario's folder, recursively.

        package: the package of the file; "" for none.
        """
        source.package, source.module = package, self.module
        for one in source.imports():
            if one.level:
                self._relative(source, one, package)
            elif one.module.partition(".")[0] in _OURS:
                self._check_names(source, one)
            else:
                self._absolute(source, one)

    def _absolute(self, source: Source, one: Import) -> None:
        top = one.module.partition(".")[0]
        if self._is_beside(top):
            hiding = _elsewhere(top)
            if hiding is not None:
                self.faults.append(
                    Fault(
                        str(source.path),
                        one.line,
                        f"{top} in the scenario's folder has the same name as {hiding}",
                        "rename the file in the scenario's folder",
                    )
                )
                return
            self.names.add(top)
            self._local(source, one, one.module)
            return
        spec = _find(top)
        if spec is None:
            if one.is_certain:
                hint = hint_of_module(top) or did_you_mean_module(top, self.root)
                self.faults.append(Fault(str(source.path), one.line, f"no module named {top}", hint))
        elif (where := _location(spec)) is not None and not _is_installed(where):
            self.warnings.append(
                Fault(
                    str(source.path),
                    one.line,
                    f"{top} is neither installed nor in the scenario's folder, so agents do not get it",
                    f"install it on the agents, or move it into the scenario's folder; it was found in {where.parent}",
                )
            )

    def _relative(self, source: Source, one: Import, package: str) -> None:
        parts = package.split(".") if package else []
        if len(parts) < one.level:
            message = "relative import: a scenario is not part of a package"
            hint = f"write `import {one.module or one.names[0]}`: modules in this folder are imported by plain name"
            self.faults.append(Fault(str(source.path), one.line, message, hint))
            return
        base = ".".join([*parts[: len(parts) - one.level + 1], *([one.module] if one.module else [])])
        self._local(source, one, base)

    def _local(self, source: Source, one: Import, module: str) -> None:
        """Read a module of the scenario's folder, its parent packages, and those imported names that are modules.

        A missing module is added to the errors.
        """
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            if not self._enter(parts[:end]):
                if one.is_certain:
                    there = [p.stem for p in self.root.joinpath(*parts[: end - 1]).glob("*.py")]
                    name = ".".join(parts[:end])
                    hint = did_you_mean(parts[end - 1], there)
                    self.faults.append(Fault(str(source.path), one.line, f"no module named {name}", hint))
                return
        for name in one.names:
            self._enter([*parts, name])

    def _enter(self, parts: list[str]) -> bool:
        """Read the file of a module in the scenario's folder and follow its imports.

        Returns False if there is no such module. parts: the module's dotted name, split.
        """
        folder = self.root.joinpath(*parts)
        is_package = (folder / "__init__.py").is_file()
        path = folder / "__init__.py" if is_package else folder.with_name(folder.name + ".py")
        if not path.is_file():
            return folder.is_dir() and any(folder.glob("*.py"))  # a namespace package
        if path not in self.sources:
            try:
                source = read_source(path)
            except ScenarioError as error:
                self.faults.extend(error.faults)
                return True
            self.sources[path] = source
            self._follow(source, ".".join(parts if is_package else parts[:-1]))
        return True

    def _is_beside(self, top: str) -> bool:
        folder = self.root / top
        return folder.with_name(top + ".py").is_file() or (folder.is_dir() and any(folder.glob("*.py")))

    def _check_names(self, source: Source, one: Import) -> None:
        """Add an error for each name imported from loadgen that does not exist, with the most similar name as hint."""
        try:
            module = importlib.import_module(one.module)
        except ImportError as error:
            if one.is_certain:
                self.faults.append(Fault(str(source.path), one.line, str(error), "correct the name of the module"))
            return
        for name in one.names:
            if name != "*" and not hasattr(module, name) and _find(f"{one.module}.{name}") is None and one.is_certain:
                hint = hint_of_import(name) if one.module == "loadgen" else ""
                hint = hint or did_you_mean(name, getattr(module, "__all__", dir(module)))
                self.faults.append(Fault(str(source.path), one.line, f"{one.module} has no {name}", hint))


class _LastResort:
    """Finds modules in the scenario's folder that no other finder has: those imported by computed names."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(self._root)]) if path is None else None


def did_you_mean_module(name: str, root: Path) -> str:
    """Return a hint for a missing module: the most similar module name, or else where to put the module.

    root: the scenario's folder.
    """
    beside = [p.stem for p in root.glob("*.py")] + [p.name for p in root.glob("*/") if any(p.glob("*.py"))]
    return did_you_mean(name, [*beside, *_OURS, *sys.stdlib_module_names]) or (
        "put the module into the scenario's folder, or install its package here and on the agents"
    )


def did_you_mean(name: str, there: Sequence[str]) -> str:
    close = get_close_matches(name, there, n=1, cutoff=0.7)
    return f'did you mean "{close[0]}"?' if close else ""


def _elsewhere(top: str) -> str | None:
    """Return "a module of the standard library" or "an installed package" if one has this name; None otherwise."""
    if top in sys.stdlib_module_names:
        return "a module of the standard library"
    spec = next(iter(_installed_specs(top)), None)
    return "an installed package" if spec is not None else None


def _installed_specs(top: str) -> Iterator[ModuleSpec]:
    for folder in _installed_folders():
        spec = PathFinder.find_spec(top, [str(folder)])
        if spec is not None and spec.origin is not None:
            yield spec


def _find(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _location(spec: ModuleSpec) -> Path | None:
    """Return the file or folder from which a module is imported; None for built-in modules."""
    if spec.origin in ("built-in", "frozen"):
        return None
    if spec.origin is not None:
        return Path(spec.origin)
    places = list(spec.submodule_search_locations or ())
    return Path(places[0]) if places else None


@cache
def _installed_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple(dict.fromkeys(Path(paths[key]) for key in ("purelib", "platlib", "stdlib", "platstdlib")))


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _installed_folders()) or "site-packages" in path.parts
