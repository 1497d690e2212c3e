"""Connect a project of Label Studio to the service, and try it.

Adds to the project's label config what it lacks: a field for prompts, a status line, a tag to draw
with, labels, and with a segmenter the smart tools. It shows the difference first and asks. Then it
connects the service as the project's model, or brings the connection up to date, sends one request
and prints the project's address. Run it again at any time. LABEL_STUDIO_URL and
LABEL_STUDIO_API_KEY say where Label Studio is; SEGMENTER, BASIC_AUTH_USER and BASIC_AUTH_PASS are
those of the service.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from grounded_labeler.console import open_console
from grounded_labeler.errors import GroundedLabelerError, ImageError, SettingsError
from grounded_labeler.parsing import parser_of, project_number

_WIDE = 200  # characters, where nobody watches


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    options = options_parser().parse_args(argv)
    try:
        _run(options)
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def options_parser() -> argparse.ArgumentParser:
    """The parser of the command's options; the documentation lists them from it."""
    parser = parser_of("connect", __doc__ or "")
    parser.add_argument(
        "--project",
        type=project_number,
        required=True,
        help="number of the project in Label Studio",
    )
    parser.add_argument(
        "--labels", type=_names, default=(), metavar="NAMES",
        help="labels that the project shall have, as Car,Person",
    )  # fmt: skip
    parser.add_argument(
        "--url", help="where Label Studio reaches the service (default: where this machine does)"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would change, and change nothing"
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise argparse.ArgumentTypeError("name at least one, as Car,Person")
    if not all(name.isprintable() for name in names):
        raise argparse.ArgumentTypeError("a name has a character in it that cannot be printed")
    return names


def _run(options: argparse.Namespace) -> None:
    # `--help` must not wait for these.
    from grounded_labeler.connecting.connect import (  # noqa: PLC0415
        Connection,
        connect_project,
        open_project,
    )
    from grounded_labeler.label_studio_api.ml_backends import Login  # noqa: PLC0415
    from grounded_labeler.service import label_studio_of  # noqa: PLC0415
    from grounded_labeler.settings import Settings  # noqa: PLC0415

    settings = Settings.from_env(os.environ)
    found = label_studio_of(settings)
    if found is None or found.token is None:
        raise SettingsError(
            "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY must be set: the address of Label Studio, "
            "and a token of its Account & Settings page."
        )
    url = settings.local_url if options.url is None else _address(options.url)
    login = None
    if settings.basic_auth_user is not None and settings.basic_auth_pass is not None:
        login = Login(settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())
    has_segmenter, is_here = settings.choice.has_segmenter, options.url is None
    connection = Connection(url, login, options.labels, has_segmenter, is_here)
    project = open_project(found.url, found.token, options.project)
    agree = _always if options.yes else _ask
    connect_project(project, connection, open_console(_WIDE), agree, dry_run=options.dry_run)


def _address(text: str) -> str:
    from grounded_labeler.images.ssrf import parse_http  # noqa: PLC0415

    if any(sign in text for sign in "@?#"):  # a password would be printed, and stored by others
        raise SettingsError(
            "--url must have no user name, ? or # in it: BASIC_AUTH_USER and BASIC_AUTH_PASS are "
            "the login."
        )
    try:
        parse_http(text)
    except ImageError:
        raise SettingsError(
            f"--url must be an address such as http://localhost:9090, not {text}."
        ) from None
    return text.rstrip("/")


def _always(_: str) -> bool:
    return True


def _ask(question: str) -> bool:
    """Whether somebody at a terminal says yes; raises SettingsError where there is none."""
    if not sys.stdin.isatty():
        raise SettingsError("Nobody can be asked here: give --yes to go on, or --dry-run to look.")
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
