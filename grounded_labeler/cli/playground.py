"""Try prompts and thresholds on a page in the browser.

The page loads the models that the environment variables of the service name or, with --service,
asks a service that runs. It is for this machine alone unless --host says otherwise; then it wants
the login of BASIC_AUTH_USER and BASIC_AUTH_PASS. With --project, LABEL_STUDIO_URL and
LABEL_STUDIO_API_KEY say where the tasks are.
"""

import argparse
import getpass
import logging.config
import os
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from grounded_labeler.console import tell
from grounded_labeler.errors import GroundedLabelerError, SettingsError
from grounded_labeler.interrupts import finishing
from grounded_labeler.parsing import parser_of, project_number
from grounded_labeler.settings import Settings

_PORT, _LAST_PORT = 7860, 65535
_PASSWORD = "PLAYGROUND_PASSWORD"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    options = options_parser().parse_args(argv)
    if options.user and not options.service:
        options_parser().error("--user is for --service")
    try:
        with finishing():  # what was uploaded is removed
            _run(options)
    except GroundedLabelerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def options_parser() -> argparse.ArgumentParser:
    """The parser of the command's options; the documentation lists them from it."""
    parser = parser_of("playground", __doc__ or "")
    parser.add_argument(
        "--service", metavar="URL", help="ask the service at this address, and load no models"
    )
    parser.add_argument(
        "--user", metavar="NAME",
        help=f"with --service: the user name; {_PASSWORD} has the password, or you type it",
    )  # fmt: skip
    many = parser.add_mutually_exclusive_group()
    many.add_argument(
        "--images", type=Path, metavar="DIR", help="a folder of images for the contact sheet"
    )
    many.add_argument(
        "--project", type=project_number, metavar="NUMBER",
        help="a project of Label Studio: its labels, its tasks by id, its first 50 as a sheet",
    )  # fmt: skip
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=_port, default=_PORT, help=f"port to listen on (default: {_PORT})"
    )
    return parser


def _port(text: str) -> int:
    # Beyond these a system may take another port than the one that is named.
    if not (text.isdecimal() and 1 <= int(text) <= _LAST_PORT):
        raise argparse.ArgumentTypeError(f"must be from 1 to {_LAST_PORT}, not {text}")
    return int(text)


def _run(options: argparse.Namespace) -> None:
    if find_spec("gradio") is None:
        raise SettingsError(
            "The playground needs Gradio: pip install --no-deps -r requirements-playground.txt."
        )
    settings = Settings.from_env(os.environ)
    from grounded_labeler import logs  # noqa: PLC0415 - `--help` must not wait for all of these
    from grounded_labeler.playground.serving import Address, serve_page  # noqa: PLC0415
    from grounded_labeler.playground.setup import find_pictures, local_models  # noqa: PLC0415
    from grounded_labeler.playground.web import Login, is_loopback  # noqa: PLC0415

    login = None
    if settings.basic_auth_user is not None and settings.basic_auth_pass is not None:
        login = Login(settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())
    address = Address(options.host, options.port, login)
    if login is None and not is_loopback(options.host):
        raise SettingsError(
            f"With --host {options.host} others reach the page: set BASIC_AUTH_USER and "
            "BASIC_AUTH_PASS, which it then wants."
        )
    _check_free(options.host, options.port)
    pictures = find_pictures(settings, options.images, options.project)
    logging.config.dictConfig(logs.config(settings))
    if options.service:
        from grounded_labeler.playground.service_models import ServiceModels  # noqa: PLC0415

        service = ServiceModels(options.service, _login(options.user))
        service.offer()  # what is wrong with the address or the login is said now
        tell(f"Playground on {address.url}, with the models of {options.service}. Ctrl-C ends it.")
        serve_page(service, pictures, address, settings.max_image_bytes)
    else:
        models = local_models(settings)
        tell(f"Playground on {address.url}, with {settings.choice.name}. Ctrl-C ends it.")
        serve_page(models, pictures, address, settings.max_image_bytes)


def _login(user: str | None) -> tuple[str, str] | None:
    if user is None:
        return None
    password = os.environ.get(_PASSWORD)
    if password is None:
        if not sys.stdin.isatty():
            raise SettingsError(f"Set {_PASSWORD} to the password of --user {user}.")
        password = getpass.getpass(f"Password of {user}: ")
    return user, password


def _check_free(host: str, port: int) -> None:
    """Raise SettingsError where nothing can listen on the port; models take long to load."""
    try:
        [(family, kind, _, _, place), *_] = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM
        )
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise SettingsError(
            f"Port {port} of {host} cannot be listened on ({error}): choose another, --port."
        ) from error
