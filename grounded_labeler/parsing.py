"""What all subcommands parse alike."""

import argparse

from grounded_labeler.__about__ import __version__

PROGRAM = "grounded-labeler"
_MOST_PROJECTS = 2**31 - 1  # Label Studio's numbers
STRETCH_HELP = (
    "stretch images of more than 8 bits a channel from their darkest to their brightest value"
)


def parser_of(command: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser of `grounded-labeler COMMAND`, with --help and --version."""
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def project_number(text: str) -> int:
    """Read the number of a project in Label Studio, for `type=` of an option."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST_PROJECTS):
        raise argparse.ArgumentTypeError(f"must be a number from its page's address, not {text!r}")
    return int(text)
