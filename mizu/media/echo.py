"""The built-in answer party: a SIP user agent that plays back what it hears.

A real peer behind its own transaction layer, so that call control needs no special case for it. Pure: sockets
are in :mod:`mizu.media.echo_port`. It needs no codec: whatever the caller offers is accepted, and every RTP
packet goes back as it came but for its SSRC (an unchanged one would look like a loop, RFC 3550 8.2).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from mizu.errors import Overloaded
from mizu.sip.dialog import Dialog
from mizu.sip.flow import Flow
from mizu.sip.message import Request, Response
from mizu.sip.parser import BadMessage
from mizu.sip.sdp import Media, Sdp
from mizu.sip.session import Repeater
from mizu.sip.timers import Deadline, DeadlineHeap
from mizu.sip.transactions import ClientTransaction, ServerTransaction, TransactionLayer

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO"
#: Audio over plain RTP; encrypted audio would come back as noise.
PROTOS = frozenset({"RTP/AVP", "RTP/AVPF"})
MIRRORED = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
#: Attributes that belong to the codecs, and are as true of us.
CODEC_LINES = ("a=rtpmap:", "a=fmtp:", "a=ptime:", "a=maxptime:")
SSRC_KEY = 0x5EC0_5EC0


class RtpPort(Protocol):
    """One UDP port that echoes."""

    host: str  #: our address as the caller's media reaches it
    port: int
    packets: int  #: packets sent back

    def aim(self, host: str, port: int) -> None:
        """The caller receives there; packets from elsewhere than the first sender are dropped."""

    def close(self) -> None:
        """Give the port back."""


class RtpPorts(Protocol):
    """The ports of the configured range."""

    def open(self, towards: str) -> RtpPort | None:
        """A port on the address that ``towards`` is reached from; ``None``: all are in use."""


@dataclass(frozen=True, slots=True)
class EchoCounts:
    """What the party did so far."""

    calls: int  #: now
    answered: int
    packets: int  #: RTP packets sent back


def echoed(packet: bytes) -> bytes:
    """An RTP packet with another SSRC; anything else, and what is too short, as it is."""
    if len(packet) < 12 or packet[0] >> 6 != 2:
        return packet
    ssrc = int.from_bytes(packet[8:12], "big") ^ SSRC_KEY
    return packet[:8] + ssrc.to_bytes(4, "big") + packet[12:]


def audio_of(sdp: Sdp) -> Media | None:
    """The first audio that can be echoed; ``None``: there is none."""
    for media in sdp.media:
        if media.kind == "audio" and media.port and media.proto in PROTOS and media.formats:
            return media
    return None


def answer_to(sdp: Sdp, media: Media, *, host: str, port: int, version: int) -> bytes:
    """Our answer: the codecs of the chosen audio, everything else refused (RFC 3264 6)."""
    family = "IP6" if ":" in host else "IP4"
    lines = [
        "v=0",
        f"o=echo {port} {version} IN {family} {host}",
        "s=echo",
        f"c=IN {family} {host}",
        "t=0 0",
    ]
    chosen = False
    copying = False
    for line in sdp.lines:
        if line.startswith("m="):
            words = line[2:].split()
            copying = False
            if (
                not chosen
                and len(words) > 3
                and words[0] == "audio"
                and words[2] in PROTOS
                and words[1] != "0"
            ):
                chosen = copying = True
                lines.append(f"m=audio {port} {' '.join(words[2:])}")
                lines.append(f"a={MIRRORED[media.direction]}")
            else:
                lines.append(f"m={words[0] if words else 'audio'} 0 {' '.join(words[2:]) or 'RTP/AVP 0'}")
        elif copying and line.startswith(CODEC_LINES):
            lines.append(line)
    return ("\r\n".join(lines) + "\r\n").encode("utf-8", "surrogateescape")


class EchoCall:
    """One caller that is listening to itself."""

    __slots__ = ("dialog", "end", "flow", "repeat", "rtp", "version")

    def __init__(self, dialog: Dialog, flow: Flow, rtp: RtpPort) -> None:
        self.dialog = dialog
        self.flow = flow
        self.rtp = rtp
        self.version = 1
        self.repeat: Repeater | None = None
        self.end: Deadline | None = None


class EchoParty:
    """The user agent (:class:`~mizu.sip.transactions.TransactionUser` of its own layer)."""

    def __init__(
        self,
        ports: RtpPorts,
        *,
        deadlines: DeadlineHeap,
        now: Callable[[], float],
        token: Callable[[], str],
        allowed: Callable[[str, int], bool],
        longest_s: float,
        calls_max: int = 1000,
    ) -> None:
        """
        :param allowed: is this source (host, port) one of our own listeners? Nobody else is answered.
        :param longest_s: a call is ended after so long.
        """
        self._ports = ports
        self._deadlines = deadlines
        self._now = now
        self._token = token
        self._allowed = allowed
        self._longest_s = longest_s
        self._calls_max = calls_max
        self._calls: dict[tuple[str, str], EchoCall] = {}
        self._answered = 0
        self._packets = 0
        self.layer: TransactionLayer

    def counts(self) -> EchoCounts:
        """For status and tests."""
        packets = self._packets + sum(call.rtp.packets for call in self._calls.values())
        return EchoCounts(len(self._calls), self._answered, packets)

    def close(self) -> None:
        """End every call with BYE and give the ports back."""
        for call in list(self._calls.values()):
            self._hang_up(call)

    # ------------------------------------------------------------ mizu.sip.transactions.TransactionUser

    def request_received(self, tx: ServerTransaction) -> None:
        """A request from the switch."""
        request = tx.request
        if not self._allowed(*tx.flow.remote):
            self._reply(tx, 403)
            return
        tag = request.to.tag
        if tag:
            call = self._calls.get((request.call_id, tag))
            if call is None or call.dialog.remote_tag != request.from_.tag:
                self._reply(tx, 481)
            elif not call.dialog.in_order(request):
                self._reply(tx, 500)
            else:
                self._in_call(tx, call)
        elif request.method == "INVITE":
            self._invite(tx)
        elif request.method == "OPTIONS":
            self._reply(tx, 200)
        else:
            self._reply(tx, 405)

    def ack_received(self, ack: Request, flow: Flow) -> None:
        """The ACK to our 200."""
        call = self._calls.get((ack.call_id, ack.to.tag))
        if call is not None and call.repeat is not None:
            call.repeat.stop()
            call.repeat = None
            if ack.body:
                self._aim(call, ack.body)

    def stray_response(self, response: Response, flow: Flow) -> None:
        """We wait for no response but those to BYE."""

    # ------------------------------------------------------------ mizu.sip.transactions.ClientUser

    def on_response(self, response: Response, tx: ClientTransaction) -> None:
        """To a BYE; it is over whatever it says."""

    def on_timeout(self, tx: ClientTransaction) -> None:
        """Nor does silence change that."""

    def on_transport_error(self, reason: str, tx: ClientTransaction) -> None:
        """Nor this."""

    # ------------------------------------------------------------ inside

    def _reply(
        self,
        tx: ServerTransaction,
        status: int,
        body: bytes = b"",
        tag: str = "",
    ) -> Response:
        host, port = tx.flow.local
        fields = [("Allow", ALLOW), ("Contact", f"<sip:echo@{host}:{port}>")]
        if body:
            fields.append(("Content-Type", "application/sdp"))
        response = tx.request.reply(
            status,
            to_tag=tag or self._token(),
            fields=fields,
            body=body,
            copy_record_route=status < 300,
        )
        if tx.request.method != "INVITE" or status >= 300:
            tx.respond(response)
        return response

    def _invite(self, tx: ServerTransaction) -> None:
        request = tx.request
        if len(self._calls) >= self._calls_max:
            self._reply(tx, 503)
            return
        offer = Sdp.parse(request.body) if request.body else None
        media = audio_of(offer) if offer is not None else None
        if offer is not None and media is None:
            self._reply(tx, 488)
            return
        rtp = self._ports.open(media.address if media is not None else tx.flow.remote[0])
        if rtp is None:
            self._reply(tx, 503)
            return
        tag = self._token()
        try:
            dialog = Dialog.as_uas(request, tag)
        except BadMessage:
            rtp.close()
            self._reply(tx, 400)
            return
        call = EchoCall(dialog, tx.flow, rtp)
        self._calls[dialog.call_id, tag] = call
        self._answered += 1
        call.end = self._deadlines.at(self._now() + self._longest_s, lambda: self._hang_up(call))
        self._accept(tx, call, offer, media)

    def _accept(self, tx: ServerTransaction, call: EchoCall, offer: Sdp | None, media: Media | None) -> None:
        """200 with our answer (or our own offer), repeated until the ACK."""
        rtp = call.rtp
        if offer is not None and media is not None:
            body = answer_to(offer, media, host=rtp.host, port=rtp.port, version=call.version)
            rtp.aim(media.address, media.port)
        else:
            ours = Sdp.parse(b"m=audio 9 RTP/AVP 0 8\r\n")
            body = answer_to(ours, ours.media[0], host=rtp.host, port=rtp.port, version=call.version)
        call.version += 1
        response = self._reply(tx, 200, body, call.dialog.local_tag)
        if tx.request.method != "INVITE":
            return
        if call.repeat is not None:
            call.repeat.stop()
        call.repeat = Repeater(
            lambda: tx.respond(response),
            lambda: self._hang_up(call),
            deadlines=self._deadlines,
            now=self._now,
            timers=self.layer.timers,
            longest_s=self.layer.timers.t2_s,
        )

    def _aim(self, call: EchoCall, body: bytes) -> None:
        media = audio_of(Sdp.parse(body))
        if media is not None:
            call.rtp.aim(media.address, media.port)

    def _in_call(self, tx: ServerTransaction, call: EchoCall) -> None:
        request = tx.request
        method = request.method
        if method == "BYE":
            self._reply(tx, 200)
            self._release(call)
        elif method in ("INVITE", "UPDATE"):
            call.dialog.refresh_target(request)
            offer = Sdp.parse(request.body) if request.body else None
            media = audio_of(offer) if offer is not None else None
            if offer is not None and media is None:
                self._reply(tx, 488)
            elif offer is None and method == "UPDATE":
                self._reply(tx, 200)
            else:
                self._accept(tx, call, offer, media)
        elif method in ("OPTIONS", "INFO"):
            self._reply(tx, 200)
        else:
            self._reply(tx, 405)

    def _hang_up(self, call: EchoCall) -> None:
        bye = call.dialog.request("BYE")
        self._release(call)
        with suppress(Overloaded):  # without BYE the switch's session timer ends its side
            self.layer.request(bye, call.flow, self)

    def _release(self, call: EchoCall) -> None:
        if self._calls.pop((call.dialog.call_id, call.dialog.local_tag), None) is None:
            return
        if call.repeat is not None:
            call.repeat.stop()
        if call.end is not None:
            call.end.cancel()
        self._packets += call.rtp.packets
        call.rtp.close()
