"""`grounded-labeler`: one command, a module for each subcommand.

Nothing is imported here that takes time: `grounded-labeler --help` and the health check of a
container must be instant.
"""

import difflib
import os
import sys
from dataclasses import dataclass
from typing import NoReturn

from grounded_labeler.__about__ import __version__
from grounded_labeler.interrupts import GO_ON, run_command
from grounded_labeler.parsing import PROGRAM


@dataclass(frozen=True)
class _Subcommand:
    """`module` has a `main()`; `stopped` is what a signal that ends the command says.

    `reads_env_file` says whether the settings in the file `.env` are its environment, too.
    """

    module: str
    help: str
    stopped: str = "Stopped."
    reads_env_file: bool = True


SUBCOMMANDS = {
    "serve": _Subcommand("serve", "start the service that Label Studio connects to"),
    "connect": _Subcommand(
        "connect", "connect a project of Label Studio to the service, and try it",
        "Stopped; the same command goes on where it ended.",
    ),
    "doctor": _Subcommand(
        "doctor", "look for what is wrong, with the remedy",
        "Stopped before everything was looked at.",
    ),
    "label": _Subcommand("label", "label images and draw what was found, without Label Studio"),
    "preannotate": _Subcommand(
        "preannotate", "label a whole project of Label Studio, or a folder of images", GO_ON
    ),
    "export": _Subcommand(
        "export", "write a run, or a project's annotations, as a dataset to train with"
    ),
    "evaluate": _Subcommand(
        "evaluate", "measure how good predictions are, against annotations", GO_ON
    ),
    "tune": _Subcommand(
        "tune", "find better phrases and thresholds for labels, by annotations", GO_ON
    ),
    "playground": _Subcommand("playground", "try prompts and thresholds on a page in the browser"),
    "accept": _Subcommand(
        "accept", "make annotations of predictions that reviews vouch for", GO_ON
    ),
    "weights": _Subcommand(
        "weights", "download the files of the models and check them", GO_ON
    ),
    "verify": _Subcommand(
        "verify", "compare the models with what was published of them",
        "Stopped before all models were verified.",
    ),
    "models": _Subcommand("models", "list the models: size, memory, speed, licence, what is here"),
    "prompts": _Subcommand("prompts", "show, set and delete the remembered prompts"),
    "deploy": _Subcommand(
        "deploy", "put the models on a Ray cluster", "Stopped before the models were there."
    ),
    "demo": _Subcommand(
        "demo", "see it work with small models that need no download",
        "Stopped; nothing is left running.", reads_env_file=False,
    ),
    # It says what is from which, so it reads the file itself.
    "settings": _Subcommand(
        "settings", "print every setting as it counts, and where it is from", reads_env_file=False
    ),
    "healthcheck": _Subcommand(
        "healthcheck", "say whether the service on this machine is ready",
        "Stopped before the service answered.",
    ),
}  # fmt: skip


def main() -> NoReturn:
    """Run the command line of this process, and end it with the subcommand's exit code."""
    _, *arguments = sys.argv
    if not arguments or arguments[0] in {"-h", "--help"}:
        sys.stdout.write(_help())
        sys.exit(0 if arguments else 2)
    name, *rest = arguments
    if name == "--version":
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        sys.exit(0)
    if name not in SUBCOMMANDS:
        sys.stderr.write(_unknown(name))
        sys.exit(2)
    sys.argv = [f"{PROGRAM} {name}", *rest]
    subcommand = SUBCOMMANDS[name]
    before = _read_env_file if subcommand.reads_env_file else None
    run_command(f"grounded_labeler.cli.{subcommand.module}", subcommand.stopped, before)


def run_old(module: str, *command: str) -> NoReturn:
    """Run what `python -m MODULE` ran before there was one command, and name the new one."""
    new = " ".join((PROGRAM, *command))
    sys.stderr.write(
        f"`python -m {module}` is now `{new}`; the old form works for one more release.\n"
    )
    sys.argv = [PROGRAM, *command, *sys.argv[1:]]
    main()


def _read_env_file() -> None:
    path = os.environ.get("ENV_FILE", "").strip()
    if path == os.devnull or not (path or os.path.lexists(".env")):
        return  # most have none, and the import takes time
    from grounded_labeler.errors import SettingsError  # noqa: PLC0415
    from grounded_labeler.settings_sources import load_env_file  # noqa: PLC0415

    try:
        load_env_file(os.environ)
    except SettingsError as error:
        sys.exit(str(error))


def _help() -> str:
    width = max(map(len, SUBCOMMANDS)) + 2
    lines = [f"  {name:{width}}{one.help}" for name, one in SUBCOMMANDS.items()]
    return (
        f"usage: {PROGRAM} COMMAND [OPTIONS]\n\n"
        "Label images by typing what is in them: a backend for Label Studio, and a command.\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n"
        f"options:\n  -h, --help   this list; `{PROGRAM} COMMAND --help` explains a command\n"
        "  --version    the version of this program\n\n"
        "Environment variables and the file .env set the service up: docs/settings.md lists them.\n"
    )


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, SUBCOMMANDS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{PROGRAM} has no command {name!r}.{hint} `{PROGRAM} --help` lists them.\n"
