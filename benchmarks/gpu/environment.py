"""Which Python, packages and card there are, before anything heavy is imported."""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_OWN = ("benchmarks", "grounded_labeler", "tests", "tools")
_CARD = ("name", "driver_version", "memory.total", "compute_cap")
_CARD_TIMEOUT_S = 30
# What a package imports without declaring it; see requirements.in.
_UNDECLARED = {
    "groundingdino": ("addict", "matplotlib", "pycocotools", "supervision", "timm", "yapf"),
    "label_studio_ml": ("appdirs", "attr", "colorama", "label_studio_tools", "redis", "rq"),
}


def facts(device: str) -> dict[str, Any]:
    """Return what a figure was measured on, as far as it can be told without importing torch."""
    return {
        "python": platform.python_version(),
        "interpreter": sys.implementation.name,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "card": card() if device == "cuda" else None,
        "packages": packages(),
    }


def card() -> dict[str, str] | None:
    """Return the first card's name, driver, memory and capability; None where none is found."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, f"--query-gpu={','.join(_CARD)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_CARD_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    values = done.stdout.partition("\n")[0].split(", ")
    return dict(zip(_CARD, values, strict=True)) if len(values) == len(_CARD) else None


def packages(requirements: Path = ROOT / "requirements.in") -> dict[str, dict[str, str | None]]:
    """Return for each package of `requirements` what is wanted of it and the version found."""
    found: dict[str, dict[str, str | None]] = {}
    for line in requirements.read_text(encoding="utf-8").splitlines():
        match = re.match(r"([\w.-]+)(?:\[[\w,]+\])?\s*([<>=!~][^#;]*)?", line)
        if match is None:
            continue
        try:
            version = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            version = None
        found[match[1]] = {"wanted": (match[2] or "").strip(), "found": version}
    return found


def older_than_wanted(found: dict[str, dict[str, str | None]]) -> list[str]:
    """Return a sentence for each package that is older than `requirements.in` asks for."""
    told = []
    for name, of in found.items():
        least = re.search(r">=\s*([\d.]+)", of["wanted"] or "")
        if of["found"] and least and _number(of["found"]) < _number(least[1]):
            told.append(f"{name} is {of['found']}, older than the {least[1]} that is wanted")
    return told


def missing_for(modules: Sequence[str]) -> list[str]:
    """Return which packages, by the names they are imported by, `modules` of ours lack here.

    Those are what the modules and the modules of ours that these import import when they are
    loaded; nothing is loaded to find out.
    """
    wanted: set[str] = set()
    for module in modules:
        wanted |= _imports(module)
    wanted |= {more for name in wanted for more in _UNDECLARED.get(name, ())}
    return sorted(name for name in wanted if find_spec(name) is None)


def _imports(module: str) -> set[str]:
    """Return the packages of others that `module` needs, itself or through modules of ours."""
    others: set[str] = set()
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for imported in _imported(name):
            top = imported.partition(".")[0]
            if top in _OWN:
                # A package is loaded before its module, and `from package import name` may
                # name either a module or what is in one.
                steps = imported.split(".")
                waiting += [".".join(steps[:end]) for end in range(1, len(steps) + 1)]
            elif top not in sys.stdlib_module_names:
                others.add(top)
    return others


@cache
def _imported(module: str) -> tuple[str, ...]:
    """Return what the file of `module` imports when it is loaded; nothing if there is no file."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return ()
    return tuple(_named(ast.parse(file.read_text(encoding="utf-8")).body))


def _named(body: Sequence[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.dump(statement.test):
            yield from _named(statement.body)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version.partition("+")[0])[:3])
