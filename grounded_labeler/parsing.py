"""What all subcommands parse alike."""

import argparse

from grounded_labeler.__about__ import __version__

PROGRAM = "grounded-labeler"
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
