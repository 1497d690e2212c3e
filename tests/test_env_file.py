"""A file of settings is read as Docker Compose reads it, and what it could mistake is refused."""

from pathlib import Path

import pytest

from grounded_labeler.env_file import parse_env, read_env_file

ENVIRON = {"SET": "there", "EMPTY": ""}


# As compose's reader has it (compose-go 2.13, the package dotenv), and its page of the syntax.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ("A= b", "b"),
        ("A =b ", "b"),
        ("  export A=b", "b"),
        ("A: b", "b"),
        ("A=b=c:d", "b=c:d"),
        ("A=", ""),
        ("A=b # said", "b"),
        ("A=b# not said", "b# not said"),
        ("A=b\t# not said", "b\t# not said"),
        ("A=b#c", "b#c"),
        ("A='b # c' # said", "b # c"),
        ('A="b # c" # said', "b # c"),
        ('A="b"# said', "b"),
        ("A=b\r\n", "b"),
        ("A=b c", "b c"),
        ("A=it's", "it's"),
        (r"A='it\'s'", "it's"),
        (r"A='b\nc'", r"b\nc"),
        (r'A="b\nc\t\"d\" \\ \q"', 'b\nc\t"d" \\ \\q'),
        (r"A=b\nc", r"b\nc"),
        ("A='b\nc'", "b\nc"),
        ('A="b\nc"', "b\nc"),
        ("A='pa$word ${SET}'", "pa$word ${SET}"),
        (r'A="pa\$SET"', "pa$SET"),
        ("A=pa$$SET", "pa$SET"),
        ("A=$SET/x", "there/x"),
        ("A=${SET}x", "therex"),
        ('A="${SET}"', "there"),
        ("A=[$NOT_SET]", "[]"),
        ("A=${NOT_SET:-else} ${NOT_SET-else}", "else else"),
        ("A=${EMPTY:-else} ${EMPTY-else}.", "else ."),
        ("A=${SET:-else}", "there"),
        ("B=1\nA=$B", "1"),
        ("SET=other\nA=$SET", "there"),  # the environment's
        ("A=1\nA=2", "2"),
        ("# A=1\n\n \t# said\nA=2", "2"),
        ("\ufeffA=b", "b"),
    ],
)
def test_values(tmp_path: Path, text: str, value: str) -> None:
    file = tmp_path / ".env"
    file.write_text(text, encoding="utf-8", newline="")
    assert read_env_file(file, ENVIRON)["A"] == value


@pytest.mark.parametrize("text", ["", "\n", "# said", "A\n", "export A"])
def test_nothing(text: str) -> None:
    assert parse_env(text, ENVIRON) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n\nsekrit value\n", "has no NAME=value in line 3"),
        ("=sekrit", "has no NAME=value in line 1"),
        ("A='sekrit", "cannot be read in line 1, A: the value that begins with ' must end with it"),
        ('B=1\nA="sekrit\nC=2', 'cannot be read in line 2, A: the value that begins with "'),
        ("A='sekrit'sekrit", "cannot be read in line 1, A: the value that begins with '"),
        # Compose knows these, and stops there, too, or means something else.
        ("A=${SET:?sekrit}", "A: put a value with a $ of its own into single quotes"),
        ("A=${SET:+sekrit}", "A: put a value with a $"),
        ("A=sekrit$", "A: put a value with a $"),
        ("A=sekrit${", "A: put a value with a $"),
        # No names, so that compose leaves them as they are; lost, they would shorten a password.
        ("A=sekrit$1", "A: put a value with a $"),
        ("A=sekrit$ä", "A: put a value with a $"),
        ("A=${1:-sekrit}", "A: put a value with a $"),
    ],
)
def test_what_cannot_be_read_is_said_without_the_value(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_env(text, ENVIRON)
    assert reason in str(error.value)
    assert "sekrit" not in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_env_file(tmp_path, {})
    (tmp_path / "bytes").write_bytes(b"A=\xff")
    with pytest.raises(ValueError, match="is not text in UTF-8"):
        read_env_file(tmp_path / "bytes", {})
    (tmp_path / "zero").write_bytes(b"A=a\0b")
    with pytest.raises(ValueError, match="has a byte 0 in it"):
        read_env_file(tmp_path / "zero", {})
    (tmp_path / "large").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ValueError, match="has more than 1000000 bytes"):
        read_env_file(tmp_path / "large", {})
