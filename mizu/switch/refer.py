"""Transfers (REFER, RFC 3515, 3892, 5589), carried out by the switch instead of being passed on.

*Blind*: the party that is sent away (``kept``) stays with us while a new call is made for the party that
asked (the referrer), who also pays for it. When the target answers, both are joined by re-INVITE and the
referrer is told goodbye. *Attended* (Refer-To with Replaces): two answered calls of one referrer are joined
the same way.

The calls stay calls of their own, each with its row: who called whom, and who pays, does not change because
somebody was transferred. :class:`mizu.switch.call.Call` ends one when the other's party leaves.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mizu.accounts.limits import channels_wanted
from mizu.model import CallOpened, Route
from mizu.sip.dialog import Dialog, Field
from mizu.sip.headers import NameAddr
from mizu.sip.message import Request, Response, reason_phrase
from mizu.sip.numbers import called_text
from mizu.sip.parser import BadMessage
from mizu.sip.transactions import ServerTransaction
from mizu.sip.uri import SipUri, TelUri
from mizu.switch.callee import CalleeLeg, Early, Invitation
from mizu.switch.description import same_media, without_hold
from mizu.switch.fields import escaped_user, uri_host
from mizu.switch.leg import SDP, Leg, LegState
from mizu.switch.ports import ALLOW, address_text

if TYPE_CHECKING:
    from mizu.switch.call import Call

Pair = tuple[str, str]
#: How often and how long apart a leg that is just renegotiating is asked again before the transfer fails.
TRIES, WAIT_S = 20, 0.5
#: What the implicit subscription of a REFER may last; the NOTIFY with the result ends it earlier.
SUBSCRIPTION_S = 300


def refer(leg: Leg, tx: ServerTransaction, dialog: Dialog) -> None:
    """REFER in an answered call."""
    request = tx.request
    if leg.account is None or not leg.account.can_dial:
        leg.reply(tx, 403)  # a trunk's party has no account that could pay
        return
    kept = leg.peer
    if leg.state is not LegState.UP or kept is None or kept.state is not LegState.UP:
        leg.reply(tx, 481 if leg.state is not LegState.UP else 480)
        return
    if leg.transfer is not None or kept.transfer is not None:
        leg.reply(tx, 491)
        return
    try:
        target = _refer_to(request)
    except BadMessage as bad:
        leg.reply(tx, 400, reason=str(bad))
        return
    if target is None:
        leg.reply(tx, 603, reason="Only Calls Can Be Referred")
        return
    number, replaces = target
    if not (number or replaces):
        leg.reply(tx, 404)
        return
    transfer = Transfer(leg, kept, request)
    assert leg.flow is not None
    fields: list[Pair] = [("Contact", leg.ports.contact(leg.flow))]
    if not transfer.notifies:
        fields.append(("Refer-Sub", "false"))  # RFC 4488
    leg.reply(tx, 202, fields)
    transfer.notify(100)
    if replaces:
        transfer.attend(replaces)
    else:
        transfer.call_target(number)


def _refer_to(request: Request) -> tuple[str, str] | None:
    """
    Called number and Replaces value of Refer-To; both empty: a text that nobody can be called.

    :return: ``None``: it asks for another method than INVITE, or for something that is no telephone.
    :raise BadMessage: not exactly one Refer-To that can be read.
    """
    values = request.values("refer-to")
    if len(values) != 1:
        raise BadMessage("Exactly One Refer-To Wanted", code="bad_refer_to")
    uri = NameAddr.parse(values[0]).uri
    if isinstance(uri, TelUri):
        return called_text(uri), ""
    if not isinstance(uri, SipUri) or (uri.params.get("method") or "INVITE").upper() != "INVITE":
        return None
    for header in uri.headers.split("&"):
        name, _, value = header.partition("=")
        if name.lower() == "replaces":
            return called_text(uri), unquote(value)
    return (called_text(uri), "") if uri.user else None


class Transfer:
    """One transfer, from REFER to the end of its subscription. Caller of the new call, if it makes one."""

    __slots__ = (
        "_event",
        "_joined",
        "_last_told",
        "_tries",
        "call",
        "consulting",
        "kept",
        "notifies",
        "over",
        "ports",
        "referrer",
        "target",
    )

    def __init__(self, referrer: Leg, kept: Leg, request: Request) -> None:
        self.ports = referrer.ports
        self.referrer = referrer
        self.kept = kept
        self.consulting: Leg | None = None  #: attended: the referrer's leg to the target
        self.target: Leg | None = None
        self.call: Call | None = None  #: blind: the call that is made
        self.notifies = (request.get("refer-sub") or "").strip().lower() != "false"
        self.over = False
        self._joined = False
        self._tries = TRIES
        self._last_told = 0
        referrer.refer_count += 1
        self._event = "refer"
        if referrer.refer_count > 1:
            self._event = f"refer;id={request.cseq.number}"  # RFC 3515 2.4.6
        referrer.transfer = kept.transfer = self

    # ------------------------------------------------------------ telling the referrer

    def notify(self, status: int, done: Callable[[], None] | None = None) -> None:
        """NOTIFY with how far it is (RFC 3515 2.4.5). :param done: called when a final one is answered."""
        leg = self.referrer
        if not self.notifies or leg.state is not LegState.UP or status == self._last_told:
            if done is not None:
                done()
            return
        self._last_told = status
        state = f"active;expires={SUBSCRIPTION_S}" if status < 200 else "terminated;reason=noresource"
        fields: list[Field] = [
            ("Event", "event", self._event),
            ("Subscription-State", "subscription-state", state),
            ("Content-Type", "content-type", "message/sipfrag;version=2.0"),
        ]

        def answered(status: int, response: Response | None) -> None:
            if done is not None:
                done()

        leg.send("NOTIFY", fields, f"SIP/2.0 {status} {reason_phrase(status)}\r\n".encode(), answered)

    # ------------------------------------------------------------ blind

    def call_target(self, number: str) -> None:
        """Make the new call, in the name and at the cost of the referrer."""
        from mizu.switch.call import Call  # noqa: PLC0415 - a call knows its legs, and legs their transfers

        referrer, ports = self.referrer, self.ports
        account = referrer.account
        assert account is not None
        shown = account.caller_number or account.username
        call = self.call = Call(ports.new_call_id(), ports, shown, number, channels_wanted(account))
        call.caller = self
        call.invite_to = self._invite_to
        ports.begin_transfer(
            call,
            account,
            CallOpened(
                call_id=call.call_id,
                node=ports.settings.node,
                caller_account_id=account.id,
                caller_number=shown,
                called_number=number,
                caller_sip_call_id=referrer.dialog.call_id if referrer.dialog is not None else "",
                caller_address=address_text(referrer.flow) if referrer.flow is not None else "",
                setup_at=call.begun_at,
                channels=call.channels,
            ),
        )

    def _invite_to(self, route: Route) -> tuple[Invitation, Callable[[str], str]]:
        """The target gets what the kept party last offered, with any hold lifted."""
        settings = self.ports.settings
        body = without_hold(self.kept.session.remote)
        fields: list[Field] = [
            ("Max-Forwards", "max-forwards", str(settings.max_forwards)),
            ("Allow", "allow", ALLOW),
            ("Supported", "supported", "100rel, timer, replaces" if body else "timer, replaces"),
        ]
        if settings.server_name:
            fields.append(("User-Agent", "user-agent", settings.server_name))
        if body:
            fields += SDP
        interval_s = settings.session_expires_s if settings.session_timer else 0
        invitation = Invitation(tuple(fields), body, bool(body), interval_s, settings.session_min_s)
        number = route.caller_number or self.kept.shown_number()
        flow = self.referrer.flow
        host = settings.domain or (uri_host(flow.local[0]) if flow is not None else "localhost")
        return invitation, lambda tag: f"<sip:{escaped_user(number)}@{host}>;tag={tag}"

    def provisional(self, leg: CalleeLeg, early: Early | None, response: Response, body: bytes) -> None:
        """The target rings (see :class:`mizu.switch.call.CallerSide`)."""
        self.notify(response.status)

    def accept(
        self,
        leg: CalleeLeg,
        early: Early | None,
        response: Response,
        body: bytes,
        on_ack: Callable[[Request], None] | None,
    ) -> None:
        """The target answered."""
        call = self.call
        assert call is not None
        call.told = True
        self.target = leg
        leg.transfer = self
        leg.acknowledge_answer()
        self._join()

    def refuse(self, status: int, reason: str | None = None, fields: Sequence[Pair] = ()) -> None:
        """The target was not reached."""
        self._fail(status)

    # ------------------------------------------------------------ attended

    def attend(self, replaces: str) -> None:
        """Join with the call that Replaces names, which must be one of the same account."""
        call_id, *params = [part.strip() for part in replaces.split(";")]
        tags = dict(param.partition("=")[::2] for param in params)
        leg = self.ports.find_leg(call_id, tags.get("to-tag", ""), tags.get("from-tag", ""))
        account = self.referrer.account
        if (
            leg is None
            or leg is self.referrer
            or leg.account is None
            or account is None
            or leg.account.id != account.id
        ):
            self._fail(481)
            return
        target = leg.peer
        if leg.state is not LegState.UP or target is None or target.state is not LegState.UP:
            self._fail(481)  # RFC 3891 3: not answered yet
            return
        if leg.transfer is not None or target.transfer is not None or target is self.kept:
            self._fail(491)
            return
        self.consulting, self.target = leg, target
        leg.transfer = target.transfer = self
        self._join()

    # ------------------------------------------------------------ joining kept and target

    def _join(self) -> None:
        """The kept party gets the target's description, then the target gets what the kept one answers."""
        kept, target = self.kept, self.target
        if self.over or target is None:
            return
        if kept.state is not LegState.UP or target.state is not LegState.UP:
            self._fail(480)
            return
        if kept.busy or target.busy or not target.session.remote:
            self._tries -= 1
            if self._tries <= 0:
                self._fail(500)
            else:
                self.ports.deadlines.at(self.ports.now() + WAIT_S, self._join)
            return
        kept.own_origin = True
        body = kept.next_description(without_hold(target.session.remote))
        kept.reinvite([*_capabilities(kept), *SDP], body, self._kept_answered)

    def _kept_answered(self, status: int, response: Response | None) -> None:
        kept, target = self.kept, self.target
        if response is None or status >= 300 or target is None:
            kept.session.refused()
            self._fail(status if status >= 300 else 500)
            return
        body = without_hold(kept.incoming_description(response.body))
        kept.refreshed_by(response)
        if self.over or target.state is not LegState.UP or kept.state is not LegState.UP:
            return
        self._joined = True
        if not body or same_media(body, target.session.local):
            self._finish()
            return
        target.own_origin = True
        target.reinvite([*_capabilities(target), *SDP], target.next_description(body), self._target_answered)

    def _target_answered(self, status: int, response: Response | None) -> None:
        target = self.target
        assert target is not None
        if response is not None and status < 300:
            target.incoming_description(response.body)
            target.refreshed_by(response)
            self._finish()
        elif target.state is LegState.UP:
            target.session.refused()
            self._finish()
            target.call.lost(target, "transfer_failed")

    def _finish(self) -> None:
        """The kept party and the target talk; the referrer goes."""
        kept, target = self.kept, self.target
        if self.over or target is None:
            return
        self._done()
        kept.own_origin = target.own_origin = True
        kept.peer, target.peer = target, kept
        leaving = [leg for leg in (self.referrer, self.consulting) if leg is not None]
        for leg in leaving:
            leg.detached = True
            leg.peer = None

        def goodbye() -> None:
            for leg in leaving:
                leg.hang_up()

        self.notify(200, goodbye)

    # ------------------------------------------------------------ when it does not come about

    def _done(self) -> None:
        self.over = True
        for leg in (self.referrer, self.kept, self.consulting, self.target):
            if leg is not None and leg.transfer is self:
                leg.transfer = None

    def _fail(self, status: int) -> None:
        """Tell the referrer; a referrer that has hung up already leaves the kept party alone."""
        if self.over:
            return
        self._done()
        self.notify(status)
        call = self.call
        if call is not None and call.outcome is None:
            call.drop("switch", "transfer_failed")
        self._leave_nobody_alone()

    def _leave_nobody_alone(self) -> None:
        """End the call of a party whose referrer has left already."""
        for leg in (self.kept, self.target):
            if leg is not None and leg.state is LegState.UP and leg.peer is None:
                leg.call.lost(leg, "transfer_failed")

    def party_left(self, leg: Leg) -> bool:
        """
        A party of this transfer said BYE. :return: whether that is only about the transfer: the referrer may
        leave when it has asked.
        """
        if self.over or leg not in (self.referrer, self.consulting):
            return False
        leg.detached = True
        other, leg.peer = leg.peer, None
        if other is not None and other.peer is leg:
            other.peer = None
        return True

    def call_ended(self, leg: Leg) -> None:
        """The call of one of the parties is over: no transfer any more."""
        if self.over or leg.detached:
            return
        if leg is self.target and self.call is not None:
            self._fail(480)
            return
        self._done()
        call = self.call
        if call is not None and call.outcome is None:
            call.caller_cancelled()
        self.notify(487)
        self._leave_nobody_alone()


def _capabilities(leg: Leg) -> list[Field]:
    fields: list[Field] = [("Allow", "allow", ALLOW), ("Supported", "supported", "100rel, timer, replaces")]
    if leg.interval is not None:
        fields.append(leg.interval.header(uas=False))
    return fields
