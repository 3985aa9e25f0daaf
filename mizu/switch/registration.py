"""
What a REGISTER asks for, worked out on the bindings that are there: RFC 3261 10.3 steps 6 and 7, RFC 3327,
RFC 5626 6. Pure: values in, values out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any, NamedTuple

from mizu.errors import MizuError
from mizu.model import Account, Binding
from mizu.sip.flow import Flow
from mizu.sip.grammar import BadMessage, unquote
from mizu.sip.headers import NameAddr
from mizu.sip.message import Request
from mizu.sip.uri import SipUri, parse_uri
from mizu.switch.way_back import NO_PROXIES, Proxies, path_leads_back, port_of

# What one binding may take of memory. Real values are far below.
CONTACT_CHARS = 1024
CALL_ID_CHARS = 512
INSTANCE_CHARS = 256
USER_AGENT_CHARS = 128
PATH_CHARS = 2048

#: 423 is only for intervals below this (RFC 3261 10.3 step 7).
ONE_HOUR_S = 3600
_REG_ID_MAX = 2**31 - 1
#: Code of the refusal of a Path that leads to others than its sender.
FOREIGN_PATH = "foreign_path"
_REFRESH_PARAMS = frozenset({"expires"})


class RegistrationRefused(MizuError):
    """The REGISTER is refused as a whole; nothing was changed."""

    code = "registration_refused"

    def __init__(
        self, status: int, code: str, reason: str = "", fields: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(reason or code)
        self.sip_status = status
        self.code = code
        self.reason = reason
        self.fields = fields


@dataclass(frozen=True, slots=True)
class RegistrationRules:
    """For how long phones register, and what they are told. Most of it are global options."""

    expires_s: int = 300  #: ``upperexpire``
    expires_min_s: int = 60  #: ``upperexpiremin``
    expires_max_s: int = 3600  #: ``upperexpiremax``
    offline_s: int = 3600  #: ``userofflinemin``: a registration whose time the phone was never told
    echo_contact: int = 2  #: ``sendbackregcontact``: 0 nothing, 1 the URI, 2 with expires, 3 as it came
    contacts_max: int = 10  #: of one account

    @classmethod
    def of(cls, option: Callable[[str], Any], contacts_max: int) -> "RegistrationRules":
        """
        From the options in force. ``options set`` keeps them in order, but two nodes may set one each at the
        same moment, and older versions took any.

        :param option: value of a global option.
        """
        low, high = int(option("upperexpiremin")), int(option("upperexpiremax"))
        return cls(
            expires_s=max(low, min(int(option("upperexpire")), high)),
            expires_min_s=low,
            expires_max_s=max(low, high),
            offline_s=int(option("userofflinemin")) * 60,
            echo_contact=int(option("sendbackregcontact")),
            contacts_max=contacts_max,
        )

    @property
    def tells_expiry(self) -> bool:
        """Does the answer say how long a registration lasts?"""
        return self.echo_contact == 2

    def given_s(self, wanted_s: int | None) -> int:
        """
        The interval that a phone gets, seconds.

        :param wanted_s: what it asks for; ``None``: nothing; never 0.
        :raise RegistrationRefused: too brief (RFC 3261 10.3 step 7).
        """
        if wanted_s is None:
            # Neither side named a time: the phone will refresh when it likes.
            return self.expires_s if self.tells_expiry else self.offline_s
        if wanted_s < self.expires_min_s and wanted_s < ONE_HOUR_S:
            fields = (("Min-Expires", str(self.expires_min_s)),)
            raise RegistrationRefused(423, "interval_too_brief", "", fields)
        return self.expires_s if wanted_s > self.expires_max_s else wanted_s


class Outcome(NamedTuple):
    """What is registered after the request."""

    bindings: tuple[Binding, ...]
    changed: bool  #: false: the request only asked
    outbound: bool = False  #: RFC 5626 was used: ``Require: outbound`` goes into the answer


def apply_register(
    request: Request,
    flow: Flow,
    account: Account,
    old: Sequence[Binding],
    *,
    settings: RegistrationRules,
    now_s: float,
    is_self: Callable[[str, int], bool],
    proxies: Proxies = NO_PROXIES,
) -> Outcome:
    """
    The bindings of ``account`` after this REGISTER.

    :param old: its bindings before; expired ones are dropped.
    :param now_s: wall time, seconds since the epoch.
    :param is_self: whether a host and port are one of our own listeners; the one it came to is known.
    :param proxies: whose Path is followed wherever it leads.
    :raise RegistrationRefused: all or nothing: the bindings stay as they were.
    :raise BadMessage: a header cannot be read.
    """
    live = [binding for binding in old if binding.expires_at_s > now_s]
    contacts = request.contacts
    if not contacts:
        return Outcome(tuple(live), changed=False)
    if len(live) == 1 == len(contacts):
        refreshed = _refreshed(request, flow, account, contacts[0], live[0], settings, now_s)
        if refreshed is not None:
            return Outcome((refreshed,), changed=True)
    for contact in contacts:
        if contact.star:
            return _remove_all(request, live)
    limit = account.max_contacts or settings.contacts_max
    if len(contacts) > 2 * limit:  # before any of them costs work
        raise _too_many()
    path = _path(request, flow, proxies)
    local = flow.local
    update = _Update(request, flow, account, live, path, settings=settings, now_s=now_s)
    for contact in contacts:
        update.apply(contact, lambda host, port: (host, port) == local or is_self(host, port))
    if len(update.live) > limit and len(update.live) > len(live):
        raise _too_many()
    outbound = update.wants_outbound and any(binding.reg_id for binding in update.made)
    return Outcome(tuple(update.live), changed=True, outbound=outbound)


def _refreshed(  # noqa: PLR0917
    request: Request,
    flow: Flow,
    account: Account,
    contact: NameAddr,
    before: Binding,
    settings: RegistrationRules,
    now_s: float,
) -> Binding | None:
    """
    What nearly every REGISTER asks for: the one binding there is, for some time more. ``None``: it is
    something else, or uses an extension; then :class:`_Update` works it out.
    """
    call_id, cseq = request.call_id, request.cseq.number
    if (
        contact.uri_text != before.contact
        or before.reg_id
        or contact.params.keys() - _REFRESH_PARAMS
        or request.get("path") is not None
        or len(call_id) > CALL_ID_CHARS
        or (call_id == before.call_id and cseq <= before.cseq)
    ):
        return None
    wanted_s = contact.expires_s if contact.params else None
    if wanted_s is None:
        wanted_s = request.expires
    if wanted_s == 0:
        return None
    expires_at_s = now_s + settings.given_s(wanted_s)
    host, port = flow.remote
    agent = request.get("user-agent") or ""
    agent = intern(agent[:USER_AGENT_CHARS]) if agent != before.user_agent else before.user_agent
    return Binding(
        account.id,
        account.username,
        before.contact,
        expires_at_s,
        before.call_id if before.call_id == call_id else call_id,
        cseq,
        1000,
        (),
        flow.proto,
        before.received_host if before.received_host == host else host,
        port,
        flow.listener,
        agent,
    )


def _remove_all(request: Request, live: Sequence[Binding]) -> Outcome:
    """``Contact: *`` (step 6)."""
    if len(request.contacts) > 1 or request.expires != 0:
        raise RegistrationRefused(400, "bad_star", "Contact * Needs Expires 0 And No Other Contact")
    call_id, cseq = request.call_id, request.cseq.number
    if any(binding.call_id == call_id and cseq <= binding.cseq for binding in live):
        raise _out_of_order()
    return Outcome((), changed=True)


class _Update:
    """One REGISTER being applied to a copy of the bindings."""

    __slots__ = (
        "account",
        "call_id",
        "cseq",
        "flow",
        "live",
        "made",
        "now_s",
        "path",
        "request",
        "settings",
        "user_agent",
        "wants_outbound",
    )

    def __init__(
        self,
        request: Request,
        flow: Flow,
        account: Account,
        live: Sequence[Binding],
        path: tuple[str, ...],
        *,
        settings: RegistrationRules,
        now_s: float,
    ) -> None:
        self.request = request
        self.flow = flow
        self.account = account
        self.settings = settings
        self.now_s = now_s
        self.live = list(live)
        self.made: list[Binding] = []  # by this request: not compared with its own CSeq
        self.call_id = request.call_id
        if len(self.call_id) > CALL_ID_CHARS:
            raise RegistrationRefused(400, "call_id_too_long", "Call-ID Too Long")
        self.cseq = request.cseq.number
        self.user_agent = intern((request.get("user-agent") or "")[:USER_AGENT_CHARS])
        self.path = path
        self.wants_outbound = self._outbound()

    def apply(self, contact: NameAddr, is_self: Callable[[str, int], bool]) -> None:
        """Add, update or remove the binding of one Contact value (step 7)."""
        expires_s = self._expires_s(contact)
        instance_id, reg_id = _instance(contact) if self.wants_outbound else ("", 0)
        at = self._find(contact, instance_id, reg_id)
        before = self.live[at] if at is not None else None
        if before is None or before.contact != contact.uri_text:
            check_contact(contact, is_self)
            if self.path and is_self_uri(NameAddr.parse(self.path[0]).uri, is_self):
                raise RegistrationRefused(400, "path_is_us", "Path Is This Server")
        if before is not None and before.call_id == self.call_id and self.cseq <= before.cseq:
            earlier = [one for one in self.made if one is not before]
            if len(earlier) == len(self.made):
                raise _out_of_order()
            self.made = earlier  # twice in one request is not out of order: the later one holds
        if expires_s == 0:
            if at is not None:
                del self.live[at]
            return
        binding = self._binding(contact, expires_s, before, instance_id, reg_id)
        self.made.append(binding)
        if at is None:
            self.live.append(binding)
        else:
            self.live[at] = binding

    def _find(self, contact: NameAddr, instance_id: str, reg_id: int) -> int | None:
        """The binding that this Contact is about: by instance and flow (RFC 5626 6), else by its URI."""
        if reg_id:
            for at, binding in enumerate(self.live):
                if binding.reg_id == reg_id and binding.instance_id == instance_id:
                    return at
            return None
        for at, binding in enumerate(self.live):
            if binding.contact == contact.uri_text and not binding.reg_id:
                return at
        if not self.live:
            return None
        uri = contact.uri
        if isinstance(uri, SipUri):
            for at, binding in enumerate(self.live):
                if not binding.reg_id and uri.equals(_stored_uri(binding)):
                    return at
        return None

    def _expires_s(self, contact: NameAddr) -> int:
        """The interval given to this Contact, seconds; 0: it wants to be removed."""
        wanted_s = contact.expires_s
        if wanted_s is None:
            wanted_s = self.request.expires
        return 0 if wanted_s == 0 else self.settings.given_s(wanted_s)

    def _binding(
        self, contact: NameAddr, expires_s: int, before: Binding | None, instance_id: str, reg_id: int
    ) -> Binding:
        """The new binding. Texts that have not changed are the old objects, to save memory."""
        flow = self.flow
        host, port = flow.remote
        contact_text, call_id = contact.uri_text, self.call_id
        if before is not None:
            contact_text = before.contact if before.contact == contact_text else contact_text
            call_id = before.call_id if before.call_id == call_id else call_id
            host = before.received_host if before.received_host == host else host
            instance_id = before.instance_id if before.instance_id == instance_id else instance_id
        return Binding(
            self.account.id,
            self.account.username,
            contact_text,
            self.now_s + expires_s,
            call_id,
            self.cseq,
            contact.q_milli,
            self.path,
            flow.proto,
            host,
            port,
            flow.listener,
            self.user_agent,
            instance_id,
            reg_id,
        )

    def _outbound(self) -> bool:
        """Whether the rules of RFC 5626 6 apply."""
        contacts = [contact for contact in self.request.contacts if "reg-id" in contact.params]
        if not contacts or not any(_instance(contact)[1] for contact in contacts):
            return False
        if "outbound" not in [option.lower() for option in self.request.values("supported")]:
            return False
        if len([contact for contact in contacts if contact.params.get("expires") != "0"]) > 1:
            raise RegistrationRefused(400, "several_reg_ids", "One Flow For Each REGISTER")
        if len(self.request.values("via")) > 1:
            # There is a proxy between: the first one must keep the phone's flow (``ob`` in its Path).
            edge = self.path[-1] if self.path else ""
            if ";ob" not in edge.lower():
                raise RegistrationRefused(439, "no_outbound_at_first_hop", "First Hop Lacks Outbound Support")
        return True


def check_contact(contact: NameAddr, is_self: Callable[[str, int], bool]) -> None:
    """
    Whether we would send calls there.

    :raise RegistrationRefused: 400: not a SIP URI, too long, or one of our own listeners, which would make
        every call to it a loop.
    """
    if len(contact.uri_text) > CONTACT_CHARS:
        raise RegistrationRefused(400, "contact_too_long", "Contact Too Long")
    uri = contact.uri
    if not isinstance(uri, SipUri):
        raise RegistrationRefused(400, "contact_scheme", "Contact Is Not A SIP URI")
    if is_self_uri(uri, is_self):
        raise RegistrationRefused(400, "contact_is_us", "Contact Is This Server")


def is_self_uri(uri: object, is_self: Callable[[str, int], bool]) -> bool:
    """Does the URI name one of our own listeners?"""
    return isinstance(uri, SipUri) and is_self(uri.host.lower(), port_of(uri))


def _instance(contact: NameAddr) -> tuple[str, int]:
    """``+sip.instance`` without quotes and ``<>``, and ``reg-id``; ('', 0) when one is missing or broken."""
    instance_id = unquote(contact.params.get("+sip.instance") or "").strip("<>")
    text = contact.params.get("reg-id") or ""
    if not instance_id or not text.isascii() or not text.isdigit() or len(text) > 10:
        return "", 0
    reg_id = int(text)
    if not 0 < reg_id <= _REG_ID_MAX:
        return "", 0
    if len(instance_id) > INSTANCE_CHARS or '"' in instance_id or "\\" in instance_id:
        raise RegistrationRefused(400, "bad_instance", "Bad +sip.instance")
    return instance_id, reg_id


def _path(request: Request, flow: Flow, proxies: Proxies) -> tuple[str, ...]:
    """
    The Path values (RFC 3327), each one a loose-routing SIP URI.

    :raise RegistrationRefused: 403: they name another address than the REGISTER came from, so that calls
        would go to whatever host a user likes.
    """
    if request.get("path") is None:
        return ()
    values = request.values("path")
    if sum(map(len, values)) > PATH_CHARS:
        raise RegistrationRefused(400, "path_too_long", "Path Too Long")
    for value in values:
        uri = NameAddr.parse(value).uri
        if not isinstance(uri, SipUri) or "lr" not in uri.params:
            raise RegistrationRefused(400, "bad_path", "Path Is Not A Loose Route")
    if not path_leads_back(values, flow.remote[0], proxies):
        raise RegistrationRefused(403, FOREIGN_PATH, "Path Of Another Address")
    return tuple([intern(value) for value in values])


def _stored_uri(binding: Binding) -> object:
    try:
        return parse_uri(binding.contact)
    except BadMessage:
        return None  # stored by another version; equal to nothing


def _out_of_order() -> RegistrationRefused:
    return RegistrationRefused(500, "out_of_order", "CSeq Out Of Order")


def _too_many() -> RegistrationRefused:
    return RegistrationRefused(403, "too_many_contacts", "Too Many Contacts")
