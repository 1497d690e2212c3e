"""Print every setting as it counts here, and where it is from.

That is the default, the environment, the file .env of this folder (ENV_FILE names another), or
the file of a secret. Secrets are masked. It ends with 1 and a sentence where a value is wrong.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from pydantic import JsonValue

from grounded_labeler.errors import GroundedLabelerError
from grounded_labeler.parsing import parser_of
from grounded_labeler.settings_sources import (
    Effective,
    effective_settings,
    read_settings_file,
    warnings_of,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    parser = parser_of("settings", __doc__ or "")
    parser.add_argument("--json", action="store_true", help="print a list of objects, as JSON")
    options = parser.parse_args(argv)
    try:
        _, from_file = read_settings_file(os.environ)
        for sentence in warnings_of({*os.environ, *from_file}):
            sys.stderr.write(f"{sentence}\n")
        rows = effective_settings(os.environ)
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.json:
        text = json.dumps([asdict(row) for row in rows], indent=1)
        sys.stdout.write(f"{text}\n")
    else:
        sys.stdout.write(_table(rows))
    return 0


def _table(rows: Sequence[Effective]) -> str:
    cells = [(row.name, _shown(row.value), row.source) for row in rows]
    name, value = (max(len(row[column]) for row in cells) for column in (0, 1))
    value = min(value, 40)
    return "".join(f"{one:{name}}  {two:{value}}  {three}\n" for one, two, three in cells)


def _shown(value: JsonValue) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
