"""Addresses of stores: what is one, what of it may be shown."""

import re

import pytest

from grounded_labeler.prompts.url import read_store_address


@pytest.mark.parametrize(
    ("url", "kind", "place"),
    [
        ("sqlite:///data/prompts.sqlite3", "sqlite", "/data/prompts.sqlite3"),
        ("sqlite:////data/a%20b", "sqlite", "/data/a b"),  # as SQLAlchemy writes it
        ("postgresql://host", "postgresql", "postgresql://host"),
        ("postgresql://:sekrit@[::1]:5432/db", "postgresql", "postgresql://[::1]:5432"),
        ("postgresql://anna:sekrit@host/db", "postgresql", "postgresql://host"),
        ("postgres://anna:se%40krit@host:5432/db", "postgresql", "postgres://host:5432"),
        ("postgresql://anna:sekrit@a:1,b/db?sslmode=require", "postgresql", "postgresql://a:1,b"),
        ("postgresql:///db?host=/run/postgresql", "postgresql", "postgresql://"),
        ("  postgresql://host/db\n", "postgresql", "postgresql://host"),
    ],
)
def test_addresses(url: str, kind: str, place: str) -> None:
    address = read_store_address(url)
    assert (address.kind, address.place, address.url) == (kind, place, url.strip())
    assert "krit" not in repr(address)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "mysql://anna:sekrit@host/db",
            "must be postgresql://user:password@host/database or sqlite:///path",
        ),
        ("http://sekrit", "must be"),
        ("sekrit", "must be"),
        ("/data/sekrit", "must be"),
        ("redis://:sekrit@host/0", "names Redis, which is no longer supported: it must be"),
        ("rediss://:sekrit@host/0", "names Redis"),
        ("postgresql:sekrit", "must be"),
        ("postgresql://:sekrit@host:port/db", "must be"),
        ("postgresql://:sekrit@host:70000/db", "must be"),
        ("postgresql://[sekrit/db", "must be"),
        ("postgresql://:sekrit?x@host/db", "%3F"),
        ("postgresql://:sek#rit@host/db", "%23"),
        ("postgresql://anna:123/sekrit@host/db", "%2F"),  # no host anna with port 123
        ("postgresql://anna:p@sekrit@host/db", "%40"),
        ("postgresql://anna:sekrit%@host/db", "%25"),
        ("POSTGRESQL://:sekrit@host/db", "must be"),
        ("postgresql://anna:sekrit @host/db", "%20"),
        ("postgresql://anna:sekrit@host,/db", "must be"),
        ("sqlite://sekrit/prompts", "whole path"),
        ("sqlite:///", "whole path"),
        ("sqlite:///data/", "whole path"),
        ("sqlite:///sekrit?mode=ro", "whole path"),
    ],
)
def test_what_is_none_is_refused_without_repeating_it(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as told:
        read_store_address(url)
    assert "sekrit" not in str(told.value)


def test_secrets_are_taken_out_of_what_drivers_say() -> None:
    address = read_store_address("postgresql://anna:p%40ss@host/db?sslpassword=k3y")
    said = 'no user "anna" with p@ss,\tp%40ss or k3y\nand anna again'
    assert address.hide_secrets(said) == 'no user "***" with ***, *** or ***'
    assert read_store_address("postgresql://host").hide_secrets("Error\n") == "Error"
