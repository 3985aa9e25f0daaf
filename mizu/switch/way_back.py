"""
Where a registered contact is called: where its REGISTER came from, or through proxies of the operator.

A user writes Contact and Path as he likes. Were a call sent to whatever host they name, it would go from our
address, which carriers trust, to a number of his choice, past routing, limits and prices. So a host that they
name counts only if it is, as a number, the very address that the REGISTER came from; else the call goes back
over the flow. The Path of a proxy that the operator named (``[registrar] path_from``) counts as it is. Pure.
"""

from collections.abc import Sequence
from ipaddress import ip_address

from mizu.errors import BadRequest
from mizu.model import CARRIERS, Account, Binding
from mizu.sip.dialog import Dialog, uri_in
from mizu.sip.flow import Flow
from mizu.sip.grammar import BadMessage
from mizu.sip.locate import DEFAULT_PORT, numeric_host
from mizu.sip.uri import SipUri
from mizu.targets import normal_host, parse_target


class Proxies:
    """
    Addresses of proxies that stand between phones and us, and whose Path we follow wherever it leads.

    :param texts: addresses, networks and ranges, as :func:`mizu.targets.parse_target` reads them.
    :raise BadRequest: one cannot be read, or has a port.
    """

    __slots__ = ("_targets",)

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._targets = tuple([parse_target(text) for text in texts])
        for target in self._targets:
            if target.port:
                raise BadRequest(f"want a proxy's address without a port, got {target.text}")

    def __contains__(self, host: str) -> bool:
        if not self._targets:
            return False
        try:
            address = ip_address(normal_host(host))
        except ValueError:
            return False
        number = int(address)
        return any(
            one.version == address.version and one.first <= number <= one.last for one in self._targets
        )


#: No proxy is trusted.
NO_PROXIES = Proxies()


def is_same_host(named: str, numeric: str) -> bool:
    """Is the host of a URI that numeric address, in whatever spelling? A name never is."""
    return named == numeric or (bool(numeric) and numeric_host(named) == numeric)


def port_of(uri: SipUri) -> int:
    """Where a URI with a numeric host leads (RFC 3263 4.2)."""
    return uri.port or DEFAULT_PORT.get("tls" if uri.scheme == "sips" else uri.transport, 5060)


def path_leads_back(path: Sequence[str], host: str, proxies: Proxies = NO_PROXIES) -> bool:
    """
    May calls go along this Path of a REGISTER that came from ``host``?

    Every hop counts, not only the first: the first would carry the call on to the second.
    """
    if host in proxies:
        return True
    try:
        return bool(host) and all(is_same_host(SipUri.parse(uri_in(hop)).host, host) for hop in path)
    except BadMessage:
        return False  # stored by another version


def way_back(binding: Binding, proxies: Proxies = NO_PROXIES) -> SipUri | None:
    """
    The URI that calls to this contact are sent to when they do not go over its flow.

    :return: ``None``: neither Contact nor Path names one that may be used.
    """
    host = binding.received_host
    try:
        if binding.path:
            if path_leads_back(binding.path, host, proxies):
                return SipUri.parse(uri_in(binding.path[0]))
        else:
            uri = SipUri.parse(binding.contact)
            if host and is_same_host(uri.host, host):
                return uri
    except BadMessage:
        pass
    return None


def over_its_flow(binding: Binding, proxies: Proxies = NO_PROXIES) -> bool:
    """
    Whether a call goes to where the REGISTER came from, instead of to the address in the Contact or Path.

    So for connections, for flows of RFC 5626, and for a phone that is not where its Contact says: behind NAT,
    or with a name that only its own network knows. A phone that sends from one port of its address and
    listens on another is called where it listens.
    """
    if not binding.local or not binding.received_host:
        return False
    if binding.proto != "udp" or (binding.reg_id and binding.instance_id):
        return True
    uri = way_back(binding, proxies)
    if uri is None:
        return True
    if binding.path:
        return False
    transport = uri.transport or "udp"
    return uri.scheme == "sip" and transport == "udp" and (uri.port or 5060) == binding.received_port


def without_connection(binding: Binding, proxies: Proxies = NO_PROXIES) -> Binding | None:
    """
    What is left of a binding when the connection it was registered over is gone.

    :return: ``None`` when it could only be reached through it: a flow of RFC 5626, a contact that names
        another host than it was sent from (a phone behind NAT, any name). Else the binding without that
        connection: calls open one to its contact or its Path. Over UDP there is no connection to lose.
    """
    if binding.proto == "udp":
        return binding
    if not binding.path and binding.instance_id and binding.reg_id:
        return None
    if way_back(binding, proxies) is None:
        return None
    if not binding.received_port:
        return binding
    return binding._replace(received_port=0, local="")


def _is_user(account: Account | None) -> bool:
    """And not a trunk or a carrier, whom the operator trusts with where things go."""
    return account is not None and account.type not in CARRIERS


def comes_by_route(host: str, flow: Flow, dialog: Dialog, account: Account | None, proxies: Proxies) -> bool:
    """
    May a request of this dialog come from ``host`` and not from where the party talked from before? From a
    proxy of its route set. A user wrote that himself, and over UDP he writes source addresses as well: his
    counts when a proxy of the operator stands between.
    """
    if _is_user(account):
        if flow.remote[0] not in proxies:
            return False
        if host in proxies:
            return True
    try:
        return any(is_same_host(SipUri.parse(uri_in(route)).host, host) for route in dialog.routes)
    except BadMessage:
        return False


def stays_with(flow: Flow, dialog: Dialog, account: Account | None, proxies: Proxies) -> bool:
    """
    Must requests of this dialog go over that flow, whatever its Contact and Record-Route name?

    So for users: their route set counts only if it begins at the address they talk to us from, and without
    one their Contact only if it does. Also for a party without a tag (RFC 2543), whoever it is: a request
    to it looks like the beginning of a call wherever else it arrives.

    :param flow: by which the party was heard last.
    """
    if not _is_user(account) and dialog.remote_tag:
        return False
    host = flow.remote[0]
    try:
        next_host = SipUri.parse(dialog.next_hop()).host
        if dialog.routes and host in proxies and next_host in proxies:
            return False
        return not is_same_host(next_host, host)
    except BadMessage:
        return True
