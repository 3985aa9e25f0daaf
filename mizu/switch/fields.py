"""Which header fields cross the switch, and who the callee is told is calling.

Default deny: a header crosses only if it is in a list below. Everything else is made anew for each leg
(Via, Route, Record-Route, Contact, Call-ID, CSeq, From, To, Max-Forwards, Supported, Require, Allow,
Session-Expires, RSeq, authentication) or would tell one side about the other's network or forge an identity
(P-Asserted-Identity, P-Preferred-Identity, Remote-Party-ID, Diversion, History-Info, Referred-By, Server,
User-Agent, Warning, Call-Info, Alert-Info, Error-Info, Reply-To, In-Reply-To and every X- header).
"""

import re
from typing import Final

from mizu.sip.message import Message, Request

Field = tuple[str, str, str]
#: Key of a header -> its name as we write it.
Names = dict[str, str]

#: They describe the body, so they go where the body goes.
BODY: Final[Names] = {
    "content-type": "Content-Type",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "mime-version": "MIME-Version",
}

#: End-to-end meaning, no identity, no address: INVITE to the callee.
INVITE: Final[Names] = {
    "subject": "Subject",
    "priority": "Priority",
    "accept-language": "Accept-Language",
    "user-to-user": "User-to-User",
    "answer-mode": "Answer-Mode",
}
#: From a caller whose account is marked as trusted, also by which way the call came.
TRUSTED_INVITE: Final[Names] = INVITE | {
    "diversion": "Diversion",
    "history-info": "History-Info",
    "alert-info": "Alert-Info",
    "call-info": "Call-Info",
}
#: The same, and who it says it is (option ``parseidentity`` is not 0).
ASSERTING_INVITE: Final[Names] = TRUSTED_INVITE | {
    "p-asserted-identity": "P-Asserted-Identity",
    "privacy": "Privacy",
}
#: Responses to the caller's INVITE.
RESPONSE: Final[Names] = {
    "reason": "Reason",
    "p-early-media": "P-Early-Media",
    "user-to-user": "User-to-User",
}
#: Final refusals: Retry-After of a person's phone ("I am out until") is worth knowing.
REFUSAL: Final[Names] = {
    "reason": "Reason",
    "retry-after": "Retry-After",
}
BYE: Final[Names] = {
    "reason": "Reason",
    "user-to-user": "User-to-User",
}
CANCEL: Final[Names] = {
    "reason": "Reason",
}
#: INFO, MESSAGE and what else is passed on as it is.
OTHER: Final[Names] = {
    "info-package": "Info-Package",
    "subject": "Subject",
    "date": "Date",
    "expires": "Expires",
    "accept-language": "Accept-Language",
}
#: Their responses.
OTHER_RESPONSE: Final[Names] = {
    "accept": "Accept",
    "accept-encoding": "Accept-Encoding",
    "recv-info": "Recv-Info",
}

_SDP_FIELDS: Final[list[Field]] = [("Content-Type", "content-type", "application/sdp")]
_PLAIN = re.compile(r"[A-Za-z0-9_.!~*'()+\-]+\Z")


def passed(message: Message, names: Names) -> list[Field]:
    """Those fields of the message that are in the list."""
    if message.has_none_of(names):
        return []
    return [(names[key], key, value) for _, key, value in message.fields if key in names]


def passed_pairs(message: Message, names: Names) -> list[tuple[str, str]]:
    """The same as name and value."""
    if message.has_none_of(names):
        return []
    return [(names[key], value) for _, key, value in message.fields if key in names]


def body_fields(message: Message) -> list[Field]:
    """The fields that describe the message's body; none without one."""
    if not message.body:
        return []
    content_type = message.get("content-type")
    if content_type == "application/sdp":
        return _SDP_FIELDS if message.has_none_of(_RARE_BODY) else passed(message, BODY)
    return passed(message, BODY)


_RARE_BODY: Final = {key: name for key, name in BODY.items() if key != "content-type"}


def is_sdp(message: Message) -> bool:
    """Does the message carry a session description (possibly among other parts)?"""
    if not message.body:
        return False
    content_type = (message.get("content-type") or "").lower()
    return content_type.startswith(("application/sdp", "multipart/"))


def escaped_user(user: str) -> str:
    """A user part as it may stand in a SIP URI (RFC 3261 25.1)."""
    if _PLAIN.match(user):
        return user
    return "".join(
        chr(byte)
        if byte < 128 and (chr(byte).isalnum() or chr(byte) in "-_.!~*'()&=+$,;?/")
        else f"%{byte:02X}"
        for byte in user.encode("utf-8", "surrogateescape")
    )


def quoted_display(name: str) -> str:
    """A display name as a quoted string with a blank after it; empty for none."""
    if not name:
        return ""
    clean = "".join(" " if ord(char) < 32 or ord(char) == 127 else char for char in name)
    escaped = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" '


def uri_host(host: str) -> str:
    """A host as it stands in a URI: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def wants_privacy(request: Request) -> bool:
    """Does the caller ask not to be shown (RFC 3323 4.2, RFC 3325 9.3)?"""
    privacy = request.get("privacy")
    if privacy is None:
        return False
    return any(word.strip().lower() in ("id", "user", "header") for word in privacy.split(";"))


def from_value(display: str, *, number: str, host: str, tag: str, hidden: bool = False) -> str:
    """The From of the callee leg."""
    if hidden:
        return f'"Anonymous" <sip:anonymous@anonymous.invalid>;tag={tag}'
    return f"{quoted_display(display)}<sip:{escaped_user(number)}@{host}>;tag={tag}"
