"""A command ends with one sentence and its own exit code, whenever a signal comes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from grounded_labeler import interrupts
from grounded_labeler.demo.process import ROOT

pytestmark = pytest.mark.slow

STOPPED = "Stopped, says the test.\n"
Start = Callable[[str], "subprocess.Popen[str]"]

# Says where it is, and stays there.
STAY = """
import sys, threading, time
from grounded_labeler.interrupts import check, finishing

def stay(where):
    print(where, flush=True)
    while True:
        time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Run the `main` of a module of this text as a command; its first line has been read."""

    def run(text: str) -> "subprocess.Popen[str]":
        (tmp_path / "command.py").write_text(STAY + text)
        code = (
            "from grounded_labeler.interrupts import run_command; "
            f"run_command('command', {STOPPED.strip()!r})"
        )
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "here\n", process.communicate()
        return process

    return run


def end(process: "subprocess.Popen[str]", *signals: signal.Signals) -> tuple[int, str, str]:
    for number in signals:
        process.send_signal(number)
    # Not communicate(), which knows nothing of what is read ahead behind the first line.
    assert process.stdout
    assert process.stderr
    said, complained = process.stdout.read(), process.stderr.read()
    return process.wait(), said, complained


IMPORTING = "stay('here')"
WORKING = "def main(): stay('here')"
CLEANING = """
def main():
    with finishing():
        try:
            stay('here')
        finally:
            print('cleaned', end='')
"""
OTHER_ERROR = """
def main():
    with finishing():
        try:
            stay('here')
        except KeyboardInterrupt:
            raise ImportError('a package could not be imported')
"""
RETURNS = """
def main():
    with finishing():
        try:
            stay('here')
        except KeyboardInterrupt:
            return 0
"""
DESTROYING = """
class Last:
    def __del__(self):
        stay('here')

def main():
    with finishing():
        Last()
        print('went on')
"""
CHECKED = """
def main():
    with finishing():
        try:
            stay('here')
        except KeyboardInterrupt:
            pass
        check()
        print('went on')
"""
ENDINGS = {
    "imports": (IMPORTING, ""),
    "works": (WORKING, ""),
    "cleans up": (CLEANING, "cleaned"),
    "makes another error of it": (OTHER_ERROR, ""),
    "takes it for the end": (RETURNS, ""),
    "destroys an object": (DESTROYING, ""),
    "asks": (CHECKED, ""),
}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
@pytest.mark.parametrize(("text", "said"), ENDINGS.values(), ids=list(ENDINGS))
def test_a_signal_ends_it_with_the_sentence_whatever_it_does(
    start: Start, text: str, said: str, number: signal.Signals, code: int
) -> None:
    assert end(start(text), number) == (code, said, STOPPED)


def test_a_second_signal_ends_what_takes_long_to_clean_up(start: Start) -> None:
    process = start(
        """
def main():
    with finishing():
        try:
            stay('here')
        finally:
            stay('cleaning')
"""
    )
    process.send_signal(signal.SIGINT)
    assert process.stdout
    assert process.stdout.readline() == "cleaning\n"
    assert end(process, signal.SIGINT) == (130, "", STOPPED)


def test_it_ends_while_threads_compute(start: Start) -> None:
    text = """
import torch

def compute():
    while True:
        torch.ones(2000, 2000) @ torch.ones(2000, 2000)

def main():
    for _ in range(2):
        threading.Thread(target=compute, daemon=True).start()
    with finishing():
        {}
"""
    assert end(start(text.format("stay('here')")), signal.SIGINT) == (130, "", STOPPED)
    # No signal, and the end of the interpreter would be as wrong.
    assert end(start(text.format("print('here'); return 3"))) == (3, "", "")


@pytest.mark.parametrize(
    ("last", "code", "said", "complained"),
    [
        ("return None", 0, "", ""),
        ("return 2", 2, "", ""),
        ("print('to the end', end=''); return 0", 0, "to the end", ""),
        ("sys.exit()", 0, "", ""),
        ("sys.exit(4)", 4, "", ""),
        ("sys.exit('a sentence')", 1, "", "a sentence\n"),
    ],
)
def test_the_code_is_the_command_s_own(
    start: Start, last: str, code: int, said: str, complained: str
) -> None:
    process = start(f"def main():\n    print('here', flush=True)\n    {last}\n")
    assert end(process) == (code, said, complained)


def test_an_error_that_nobody_expects_has_its_traceback(start: Start) -> None:
    code, _, complained = end(start("def main():\n    print('here'); return 1 / 0\n"))
    assert code == 1
    assert complained.startswith("Traceback")
    assert complained.endswith("ZeroDivisionError: division by zero\n")


def test_in_a_process_that_is_no_command_nothing_changes() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interrupts.finishing():
        interrupts.check()
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
