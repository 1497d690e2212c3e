"""Look for what is wrong: packages, devices, memory, models, Label Studio, one real prediction.

One line for each check: ok, warn or fail, and what to do. Set the environment variables as for the
service, and run it where the service runs; a service that runs here is asked, and no model is
loaded a second time. Every check ends in time, and no secret is printed. The exit code is 1 when a
check fails.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from grounded_labeler.console import open_console
from grounded_labeler.parsing import parser_of, project_number

_WIDE = 200  # characters, where nobody watches


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    options = options_parser().parse_args(argv)
    from dataclasses import asdict  # noqa: PLC0415 - `--help` must not wait for these

    from grounded_labeler.connecting.doctor import examine, show  # noqa: PLC0415
    from grounded_labeler.connecting.findings import Status  # noqa: PLC0415

    console = open_console(_WIDE)
    found = []
    for finding in examine(os.environ, options.project):
        found.append(finding)
        if not options.json:
            show(finding, console)
    if options.json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    return int(any(one.status is Status.FAIL for one in found))


def options_parser() -> argparse.ArgumentParser:
    """The parser of the command's options; the documentation lists them from it."""
    parser = parser_of("doctor", __doc__ or "")
    parser.add_argument(
        "--project",
        type=project_number,
        help="a project of Label Studio to look at, with some of its images",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    return parser
