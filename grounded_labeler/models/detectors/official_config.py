"""Configs of the original Grounding DINO: the package's two by name, others from a file.

Such a file is Python, but is read and never run: it may come from anywhere.
"""

import ast
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from groundingdino.config import GroundingDINO_SwinB_cfg, GroundingDINO_SwinT_OGC

from grounded_labeler.errors import SettingsError, WeightsError

Config = ModuleType | SimpleNamespace  # with an attribute for each value

NAMED: dict[str, Config] = {
    "GroundingDINO_SwinT_OGC": GroundingDINO_SwinT_OGC,
    "GroundingDINO_SwinB_cfg": GroundingDINO_SwinB_cfg,
}
# The published checkpoints, whose names say which config they have.
PUBLISHED = {
    "groundingdino_swint_ogc.pth": "GroundingDINO_SwinT_OGC",
    "groundingdino_swinb_cogcoor.pth": "GroundingDINO_SwinB_cfg",
}
_BASE = "_base_"


def config_of(checkpoint: Path, config: str | None = None) -> Config:
    """Return the config named `config`, or that in the `.py` file of that path.

    None means that of the published checkpoint which `checkpoint` is called as. Raises
    SettingsError when there is no such config, and WeightsError as `read_config` does.
    """
    name = config or PUBLISHED.get(checkpoint.name)
    if name is None:
        raise SettingsError(
            f"{checkpoint} is none of {', '.join(PUBLISHED)}: name the config it was trained with, "
            f"{', '.join(NAMED)} or the path of a .py file."
        )
    if name in NAMED:
        return NAMED[name]
    if not name.endswith(".py"):
        raise SettingsError(
            f"The detector's config must be {' or '.join(NAMED)} or the path of a .py file, "
            f"got {name!r}."
        )
    return read_config(Path(name))


def read_config(file: Path) -> Config:
    """Read the assignments of literal values that a config file consists of.

    Raises SettingsError when the file cannot be read, and WeightsError when it holds
    anything else, inherits from another, or describes a model that does not run here.
    """
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise WeightsError(f"{file} is not a Python file of a detector's config.") from error
    values: dict[str, Any] = {}
    for statement in tree.body:
        match statement:
            case ast.Expr(ast.Constant(str())):  # a docstring
                continue
            case ast.Assign([ast.Name(name)], value):
                values[name] = _literal(value, file)
            case _:
                raise _not_literal(file, statement)
    _check_runs(values, file)
    return SimpleNamespace(**values)


def _literal(node: ast.expr, file: Path) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise _not_literal(file, node) from error


def _not_literal(file: Path, node: ast.stmt | ast.expr) -> WeightsError:
    return WeightsError(
        f"{file}, line {node.lineno}: a config is read and never run, so it must consist of "
        "assignments such as num_queries = 900; write the values out."
    )


def _check_runs(values: dict[str, Any], file: Path) -> None:
    if _BASE in values:
        raise WeightsError(
            f"{file} inherits from {values[_BASE]!r}: write all values into one file without "
            f"{_BASE}."
        )
    if not str(values.get("backbone", "swin_")).startswith("swin_"):
        # Of a ResNet the package would download the weights.
        raise WeightsError(f"{file} has the backbone {values['backbone']!r}: expected a Swin.")
    if not values.get("sub_sentence_present", True):
        raise WeightsError(
            f"{file} sets sub_sentence_present to False: only models whose phrases do not see "
            "each other run here."
        )
