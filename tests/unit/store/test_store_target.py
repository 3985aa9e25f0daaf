"""Connection parameters: names found, secrets hidden."""

import pytest

from mizu.store.postgres import parse_url
from mizu.store.target import is_name, redacted


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("db.example", True),
        ("localhost", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("/run/pg", False),
        ("", False),
    ],
)
def test_only_names_are_resolved(host, name):
    """Addresses and directories of UNIX sockets are not looked up."""
    assert is_name(host) is name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@db.example:5433/mizu", "postgresql://u@db.example:5433/mizu"),
        ("postgresql:///mizu?host=/run/pg&password=secret", "postgresql:///run/pg/mizu"),
        ("host=db user=u password=secret dbname=x", "postgresql://u@db/x"),
    ],
)
def test_a_place_is_shown_without_its_password(url, shown):
    """Whatever form the URL has."""
    assert redacted(parse_url(url)) == shown
