"""What commands write, whatever they write to."""

import io

import pytest
from rich.text import Text

from grounded_labeler.console import open_console


def test_a_terminal_that_knows_ascii_alone_gets_the_rest_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    console = open_console(200)
    console.print(Text("Straße [bold]"))
    console.file.flush()
    assert written.getvalue() == b"Stra\\xdfe [bold]\n"
    assert console.width == 200
