"""Pages of lists that are sorted by more than a name."""

import pytest

from mizu.console.paging import cursor, cut, place
from mizu.errors import BadRequest

ROWS = [(3, "a"), (3, "b"), (5, "a/b c"), (5, "\udcff"), (7, "é")]


def key(row):
    return row


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_pages_together_are_the_whole(size):
    """Whatever is in the key, and however many are alike in its first part."""
    walked, after = [], ""
    while True:
        page, following = cut(ROWS, key, size, after)
        walked += page
        if following is None:
            break
        assert following.isascii()
        assert not set(following) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
        after = following
    assert walked == ROWS


def test_the_place_holds_when_its_item_is_gone():
    """The next page begins after where it was."""
    _, after = cut(ROWS, key, 2, "")
    assert cut(ROWS[:1] + ROWS[2:], key, 2, after)[0] == ROWS[2:4]


@pytest.mark.parametrize("made", [(1, "x"), ("ä", -5, 2.5), ("",), ("\udcff", 0)])
def test_a_place_is_what_it_was_made_of(made):
    """There and back."""
    assert place(cursor(made)) == made


@pytest.mark.parametrize(
    "after", ["x", "!", "é", "W1", "bnVsbA", "eyJhIjoxfQ", "W3RydWVd", "W05hTl0", "W1sxXV0", "W" * 3000]
)
def test_what_no_page_ended_with_is_refused(after):
    """Neither nonsense nor other JSON."""
    with pytest.raises(BadRequest, match="--after"):
        place(after)


def test_a_place_of_another_list_is_refused():
    """It has other parts."""
    with pytest.raises(BadRequest, match="--after"):
        cut(ROWS, key, 2, cursor(("text", "a")))
