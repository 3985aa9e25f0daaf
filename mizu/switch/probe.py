"""Is a caller where his INVITE came from? An OPTIONS that nobody can answer who has not received it. Pure.

Over UDP the source of a request may be forged, and a caller whom his address or name lets in has answered no
challenge. So he is asked once: a client that is there answers, if only to refuse, with the branch that was
sent to him. Nothing is kept; the branch itself says to which address it was sent, and when.
"""

from hashlib import blake2b

from mizu.sip.flow import Flow

GOOD_S = 32  #: 64*T1: an answer that comes later is none
_STEM = "z9hG4bKp"
_TIME_DIGITS = 8
_SIGNATURE_BYTES = 10


class Prober:
    """:param key: 16 to 64 secret bytes."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def question(self, flow: Flow, now_s: float) -> bytes:
        """
        The OPTIONS (RFC 3261 11.1), to be sent once.

        :param flow: of the INVITE. :param now_s: monotonic.
        """
        branch = self._branch(flow.remote[0], int(now_s))
        (host, port), (there, remote_port) = flow.local, flow.remote
        us = f"[{host}]" if ":" in host else host
        them = f"[{there}]" if ":" in there else there
        return (
            f"OPTIONS sip:{them}:{remote_port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {us}:{port};branch={branch};rport\r\n"
            "Max-Forwards: 0\r\n"
            f"From: <sip:{us}>;tag=p\r\n"
            f"To: <sip:{them}>\r\n"
            f"Call-ID: {branch[len(_STEM) :]}\r\n"
            "CSeq: 1 OPTIONS\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode()

    def is_answer(self, branch: str, host: str, now_s: float) -> bool:
        """Was this branch sent to that address, not too long ago?"""
        stamp = branch[len(_STEM) : len(_STEM) + _TIME_DIGITS]
        try:
            sent_s = int(stamp, 16)
        except ValueError:
            return False
        return 0 <= int(now_s) - sent_s <= GOOD_S and branch == self._branch(host, sent_s)

    def _branch(self, host: str, second: int) -> str:
        stamp = f"{second & 0xFFFFFFFF:0{_TIME_DIGITS}x}"
        text = f"{stamp}{host}".encode()
        return _STEM + stamp + blake2b(text, key=self._key, digest_size=_SIGNATURE_BYTES).hexdigest()
