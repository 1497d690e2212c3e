"""`python -m benchmarks.gpu`, by any Python from 3.11 on: see check.py."""

import signal
import sys

from benchmarks.gpu.check import main

if __name__ == "__main__":
    # As Ctrl-C: the process that measures is ended, and what it has told is written already.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = main()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped before all was measured.\n")
        code = 130
    sys.exit(code)
