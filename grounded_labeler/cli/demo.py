"""See it work: the whole service on bundled models and images.

Without a word after it, `demo` starts the service with the small models, sends it what Label
Studio sends, prints what was found and draws it. `demo seed` makes a project to try in a Label
Studio that runs, `demo figures` measures the small models on images they have not seen, `demo
example` draws images with their truth to evaluate and tune on.
"""

import sys
from importlib import import_module

_MODULES = {"show": "show", "seed": "seed", "figures": "evaluate", "example": "example"}


def main() -> int | None:
    """Run one of the demo's parts; returns its exit code."""
    name = "show"
    if len(sys.argv) > 1 and sys.argv[1] in _MODULES:
        name = sys.argv.pop(1)
    code: int | None = import_module(f"grounded_labeler.demo.{_MODULES[name]}").main()
    return code
