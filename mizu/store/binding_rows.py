"""Registrations as JSON text: what the statement that writes them takes, and what it is read back from."""

import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from mizu.model import Binding
from mizu.store.text import json_text

#: Written for each binding.
_ALWAYS = (
    *("account_id", "contact", "expires_at_s", "call_id", "cseq"),
    *("received_host", "received_port", "local", "user_agent"),
)
#: Written where one of them is not as usual.
_RARE = ("q_milli", "path", "proto", "instance_id", "reg_id")
_FIELDS = frozenset([*_ALWAYS, *_RARE])
_always_of = attrgetter(*_ALWAYS)
_rare_of = attrgetter(*_RARE)
_USUAL = _rare_of(Binding(0, "", "", 0.0, "", 0))
_quoted = json.encoder.encode_basestring  # not escaped to ASCII


def text_of(states: Mapping[str, Sequence[Binding]]) -> str:
    """
    A list of ``[aor, expires_at_s, bindings]``, without bindings ``[aor, null, null]``.

    Written out here: it takes half the time of making lists and mappings for the encoder of JSON.
    """
    text = f"[{','.join([_row_text(aor, bindings) for aor, bindings in states.items()])}]"
    if text.isascii() and "\\u0000" not in text:
        return text
    return json_text([row_of(aor, bindings) for aor, bindings in states.items()])  # cleans it


def row_of(aor: str, bindings: Sequence[Binding]) -> list[object]:
    """One row of the list."""
    if not bindings:
        return [aor, None, None]
    return [aor, max([binding.expires_at_s for binding in bindings]), [_item_of(each) for each in bindings]]


def _item_of(binding: Binding) -> dict[str, object]:
    item = dict(zip(_ALWAYS, _always_of(binding), strict=True))
    rare = _rare_of(binding)
    return item if rare == _USUAL else item | dict(zip(_RARE, rare, strict=True))


def _row_text(aor: str, bindings: Sequence[Binding]) -> str:
    if len(bindings) == 1:
        return f"[{_quoted(aor)},{bindings[0].expires_at_s!r},[{_item_text(bindings[0])}]]"
    if not bindings:
        return f"[{_quoted(aor)},null,null]"
    expires_at_s = max([binding.expires_at_s for binding in bindings])
    return f"[{_quoted(aor)},{expires_at_s!r},[{','.join([_item_text(each) for each in bindings])}]]"


def _item_text(binding: Binding) -> str:
    account_id, contact, expires_at_s, call_id, cseq, host, port, local, agent = _always_of(binding)
    text = (
        f'{{"account_id":{account_id},"contact":{_quoted(contact)},"expires_at_s":{expires_at_s!r},'
        f'"call_id":{_quoted(call_id)},"cseq":{cseq},"received_host":{_quoted(host)},'
        f'"received_port":{port},"local":{_quoted(local)},"user_agent":{_quoted(agent)}'
    )
    rare = _rare_of(binding)
    if rare == _USUAL:
        return text + "}"
    return text + "," + json_text(dict(zip(_RARE, rare, strict=True)))[1:]


def bindings_of(aor: str, stored: Sequence[dict[str, Any]]) -> list[Binding]:
    """The bindings of one row. Fields that this version does not know are left out, missing ones as usual."""
    found = []
    for item in stored:
        known = {name: value for name, value in item.items() if name in _FIELDS}
        known["path"] = tuple(known.get("path", ()))
        found.append(Binding(aor=aor, **known))
    return found
