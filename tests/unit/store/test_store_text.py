"""What goes into PostgreSQL is fit for it, and otherwise untouched."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mizu.store.arrays import optionals, texts, values
from mizu.store.text import clean, json_text, storable

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(ANY_TEXT)
def test_clean_text_is_storable_and_sane_text_is_untouched(text):
    """Only NUL and lone surrogates are replaced, one for one."""
    assert storable(clean(text))
    assert len(clean(text)) == len(text)
    if storable(text):
        assert clean(text) == text


@given(JSON)
def test_json_is_storable_and_sane_json_is_untouched(value):
    """No NUL, no lone surrogate, still JSON."""
    text = json_text(value)
    assert storable(text)
    again = json.dumps(json.loads(text), ensure_ascii=False)
    assert "\\ud" not in json.dumps(json.loads(text)).replace("\\\\", "") or storable(again)
    if storable(str(value)) and "\\x00" not in repr(value) and "\\ud" not in repr(value):
        assert json.loads(text) == value


def test_a_backslash_before_u0000_is_no_nul():
    """Text that only looks like an escaped NUL stays what it is."""
    assert json.loads(json_text({"a": "\\u0000", "b": "x\x00y"})) == {"a": "\\u0000", "b": "x\ufffdy"}


def parsed(literal: str) -> list[str | None]:
    """A slow, plain reader of PostgreSQL's array syntax (one dimension)."""
    assert literal[0] == "{"
    assert literal[-1] == "}"
    found, at, inside = [], 1, literal[:-1]
    while at < len(inside):
        if inside[at] == '"':
            at, item = at + 1, ""
            while inside[at] != '"':
                at += inside[at] == "\\"
                item += inside[at]
                at += 1
            found.append(item)
            at += 1
        else:
            end = inside.find(",", at)
            end = len(inside) if end < 0 else end
            found.append(None if inside[at:end] == "NULL" else inside[at:end])
            at = end
        at += 1
    return found


@given(st.lists(ANY_TEXT, max_size=5))
def test_texts_survive_the_array_literal(column):
    """Quotes, commas, braces, backslashes, NULL, nothing: each element comes back, cleaned."""
    assert parsed(texts(column)) == [clean(text) for text in column]


@given(st.lists(st.none() | ANY_TEXT, max_size=5))
def test_optional_texts_survive_the_array_literal(column):
    """None is NULL, the text NULL is not."""
    assert parsed(optionals(column)) == [None if text is None else clean(text) for text in column]


def test_numbers_and_nothing():
    """As PostgreSQL reads them."""
    assert values([1, None, 2.5]) == "{1,NULL,2.5}"
    assert values([]) == "{}"
