"""The page of account fields in the documentation, made from the fields themselves.

``python -m mizu.accounts.field_pages`` prints it.
"""

import sys

from mizu.accounts.fields import FIELDS, GROUPS, OWNER, SELF, SERVER, STAFF, Field

HEAD = """\
Fields of accounts
==================

Every field of an account. Made from ``mizu/accounts/fields.py`` by ``make etc``; a test compares. What
accounts are and how to work with them is in `accounts.rst <accounts.rst>`_.

Each has our name and, in brackets, the names of the original, which are understood everywhere, in any case
of letters: in the console (``set 1001 CanDial=0``), in the heading of a CSV file, in the JSON API.
``mizu describe`` prints the same list. Numbers of the original's choices are kept; a word may be written
instead.

Who changes a field: *staff* are operators not limited to some accounts; *owners* are operators limited to an
account and what is below it, and change what is below; *oneself*: they change it of their own account too;
the *server* alone changes the rest.
"""
_WHO = {
    STAFF: "changed by staff",
    OWNER: "changed by staff and owners",
    SELF: "changed by staff, owners and oneself",
    SERVER: "set by the server",
}
_KINDS = {
    "flag": "yes or no (1 or 0)",
    "money": "amount with at most 6 decimal places",
    "percent": "percentage with at most 2 decimal places",
    "time": "date or time, UTC when it does not say",
    "account": "username, or # and an account id",
    "partners": "usernames, ``#12`` for an id, ``@name`` for a group, commas between; \\* all, - none",
    "prefixes": "prefixes with commas between; \\* all, - an empty list",
    "members": "usernames, ``#12`` for an id, ``@name`` for a group, commas between them",
    "number": "phone number",
    "host": "domain name or address",
    "currency": "three letters",
    "secret": "secret, never shown",
    "addresses": "addresses and names with commas between them",
}


def rst() -> str:
    """The whole page."""
    parts = [HEAD]
    for group in GROUPS:
        title = group[:1].upper() + group[1:]
        parts.append(f"\n{title}\n{'-' * len(title)}\n\n")
        parts += [_field(one) for one in FIELDS if one.group == group]
    return "".join(parts)


def _field(one: Field) -> str:
    aliases = f" ({', '.join(f'``{name}``' for name in one.aliases)})" if one.aliases else ""
    lines = [f"``{one.name}``{aliases}", f"    {_plain(one.meaning)}."]
    facts = [_KINDS.get(one.kind.name, one.kind.name)]
    if one.kind.name == "integer":
        low, high = one.kind.schema.get("minimum"), one.kind.schema.get("maximum")
        facts = [f"whole number from {low} to {high}"]
    if one.unit:
        facts.append(one.unit)
    default = one.kind.show(one.default)
    if one.changed_by != SERVER and not one.secret:
        facts.append(f"default ``{default}``" if default else "default empty")
    facts += [_WHO[one.changed_by], f"guide {one.guide}"]
    lines.append(f"    *{facts[0]}*; {'; '.join(facts[1:])}.")
    if one.kind.names:
        lines.append("")
        lines += [f"    * ``{number}`` {name}" for number, name in one.kind.names.items()]
    return "\n".join(lines) + "\n\n"


def _plain(text: str) -> str:
    return text.replace("*", "\\*").replace("``", "")


if __name__ == "__main__":
    sys.stdout.write(rst())
