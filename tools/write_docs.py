"""Write the tables of the documentation that the code knows: settings, models, options, routes.

A table stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->`. Run by `make docs`;
tests/test_docs.py fails while a page differs from what this would write.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from grounded_labeler.cli.models import Listed, listed, models_table
from grounded_labeler.server.openapi import openapi_document
from grounded_labeler.settings import Settings, variable_names
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.model import Model
from grounded_labeler.weights.own import Kind
from grounded_labeler.weights.verification import values_of

DOCS = Path(__file__).parents[1] / "docs"
CATALOGS: tuple[tuple[Kind, Mapping[str, Model]], ...] = (
    ("detector", DETECTORS),
    ("segmenter", SEGMENTERS),
)
_TABLE = re.compile(r"(<!-- begin: ([\w-]+) -->\n).*?(<!-- end: \2 -->)", re.S)


def settings() -> str:
    """Every environment variable with its default and meaning."""
    rows = []
    for field, names in variable_names().items():
        info = Settings.model_fields[field]
        default = "" if info.default in (None, ()) else str(info.default)
        default = default.lower() if isinstance(info.default, bool) else default
        shown = f"`{default}`" if default else ""
        also = "".join(f", also `{name}`" for name in names[1:])
        rows.append((f"`{names[0]}`{also}", shown, info.description or ""))
    return table(("variable", "default", "meaning"), rows)


def detectors() -> str:
    """Every detector of the catalog, as `grounded-labeler models` lists them."""
    return table(*models_table(_listed(), "detector"))


def segmenters() -> str:
    """Every segmenter, likewise."""
    return table(*models_table(_listed(), "segmenter"))


def figures() -> str:
    """Every published figure of the models with its source."""
    rows = [
        (row.name, one.figure, f"{one.value:.1f}{'*' if one.is_seen else ''}", one.source)
        for row in _listed()
        for one in row.facts.published
    ]
    return table(("model", "figure", "value", "source"), rows)


def verified() -> str:
    """The models that `grounded-labeler verify` has values of, and whose they are."""
    rows = [
        (model.name, kind, ", ".join(dict.fromkeys(one.image.name for one in values)),
         "; ".join(dict.fromkeys(one.source for one in values)))
        for kind, models in CATALOGS
        for model in models.values()
        if (values := values_of(kind, model))
    ]  # fmt: skip
    return table(("model", "for", "images", "source of the values"), rows)


def thresholds() -> str:
    """The thresholds of each detector for whoever sets none, and their source."""
    rows = [
        (row.name, f"{own.box:.2f}", f"{own.text:.2f}" if own.text else "none", own.source)
        for row in _listed()
        if (own := row.thresholds) is not None
    ]
    return table(("model", "box threshold", "text threshold", "source"), rows)


def _listed() -> list[Listed]:
    return list(listed(Path("nowhere")))


def options_of(command: str) -> str:
    """The options of `grounded-labeler COMMAND`."""
    parser = import_module(f"grounded_labeler.cli.{command}").options_parser()
    rows = []
    for action in parser._actions:
        if action.dest in {"help", "version"}:
            continue
        name = action.option_strings[0]
        value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
        rows.append((f"`{name}{value}`", action.help or ""))
    return table(("option", "meaning"), rows)


def http_api() -> str:
    """Every route with what it takes and returns, then every object of these."""
    document = openapi_document()
    parts = []
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts.append(f"\n### `{method.upper()} {path}`\n\n{route['summary']}.\n")
            if "description" in route:
                parts.append(f"\n{route['description']}\n")
            if body := route.get("requestBody"):
                parts.append(f"\nRequest: {_type(_json_of(body))}.\n")
            rows = [
                (f"`{status}`", _response(document, answer)[0], _response(document, answer)[1])
                for status, answer in route["responses"].items()
            ]
            parts.append("\n" + table(("status", "meaning", "body"), rows))
    parts.append("\n## Objects\n")
    for name, schema in document["components"]["schemas"].items():
        parts.append(f"\n### {name}\n\n")
        if "description" in schema:
            parts.append(f"{schema['description']}\n\n")
        required = schema.get("required", ())
        fields = [
            (f"`{key}`", _type(part), "yes" if key in required else "", _meaning(part))
            for key, part in schema.get("properties", {}).items()
        ]
        parts.append(table(("field", "type", "required", "meaning"), fields) if fields else "")
    return "".join(parts)


def _json_of(body: Any) -> Any:
    content = body.get("content", {})
    return content.get("application/json", {}).get("schema", {})


def _response(document: Any, answer: Any) -> tuple[str, str]:
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
    return answer["description"], _type(_json_of(answer))


def _type(schema: Any) -> str:
    """A schema in words, with links to the objects it names."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(part) for part in schema[several]))
    kinds = schema.get("type", "")
    if kinds == "array":
        return f"list of {_type(schema.get('items', {})) or 'anything'}"
    return " or ".join(kinds) if isinstance(kinds, list) else kinds


def _meaning(schema: Any) -> str:
    return " ".join(str(schema.get("description", "")).split())


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown; a `|` in a cell is escaped."""
    lines = [list(heads)]
    lines += [["---"] * len(lines[0])]
    lines += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# Those whose options a page lists.
COMMANDS = ("preannotate", "export", "playground", "evaluate", "tune", "accept")
TABLES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "detectors": detectors,
    "segmenters": segmenters,
    "thresholds": thresholds,
    "figures": figures,
    "verified": verified,
    "http-api": http_api,
    **{command: partial(options_of, command) for command in COMMANDS},
}


def written(page: str) -> str:
    """`page` with its tables as they are now. Raises KeyError for a table that nobody makes."""
    return _TABLE.sub(lambda part: f"{part[1]}{TABLES[part[2]]()}{part[3]}", page)


def main() -> None:
    """Bring every page up to date."""
    for path in sorted(DOCS.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if (new := written(page)) != page:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
