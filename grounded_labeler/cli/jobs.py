"""How the commands end that run models on many images and keep what they have in a folder."""

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from grounded_labeler.errors import GroundedLabelerError, NotReady, sentence_of
from grounded_labeler.interrupts import check, finishing
from grounded_labeler.preannotate.names import LOG


def run_job(job: Callable[[], int], out: Path) -> int:
    """Run a job that writes into `out`; return its exit code, or 1 after a sentence why it ended.

    A signal ends it once it has written what it has. Raises KeyboardInterrupt then.
    """
    try:
        with finishing():
            return job()
    except NotReady as error:
        log = out / LOG
        sentence = f"{error} See {log}." if log.is_file() else str(error)
    except GroundedLabelerError as error:
        sentence = str(error)
    except OSError as error:
        sentence = f"The run cannot go on: {sentence_of(error)}"
    except sqlite3.Error as error:
        sentence = f"The run cannot go on: the journal in {out} says {error}."
    check()
    sys.stderr.write(f"{sentence}\n")
    return 1
