"""Start the service with gunicorn on PORT, 9090 by default.

The environment variables and the file .env set it up: see docs/settings.md. Arguments go to
gunicorn.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from grounded_labeler import server
from grounded_labeler.parsing import parser_of

_CONFIG = Path(server.__file__).with_name("gunicorn_config.py")  # it names the application


def main() -> NoReturn:
    """Become gunicorn, so that signals reach it and its exit code is the command's."""
    parser = parser_of("serve", __doc__ or "")
    _, more = parser.parse_known_args()
    command = [sys.executable, "-m", "gunicorn", "--config", str(_CONFIG), *more]
    sys.stdout.flush()
    os.execv(sys.executable, command)
