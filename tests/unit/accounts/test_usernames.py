"""What an account may be called."""

import pytest

from mizu.accounts.usernames import check_username, is_username
from mizu.errors import BadRequest


@pytest.mark.parametrize(
    "name", ["1", "1001", "alice", "Alice.B-c_d", "+3615550100", "*21#", "_x", "a" * 64, "a!~"]
)
def test_these_may_be_given(name):
    """Numbers, names, feature codes."""
    assert check_username(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "#5",
        "#x",
        "-",
        "-x",
        "*",
        "+",
        ".",
        "a@b",
        "x:y",
        "a,b",
        "a/b",
        "<b>",
        "a b",
        "a\tb",
        "a\n",
        "a\x00",
        "a&b",
        "a=b",
        "a;b",
        "a'b",
        "josé",
        "\udcff",
        "a" * 65,
    ],
)
def test_these_may_not(name):
    """Ids, "none", "all", and what URIs, digests, lists and paths take for something else."""
    assert not is_username(name)
    with pytest.raises(BadRequest, match="letters, digits"):
        check_username(name)
