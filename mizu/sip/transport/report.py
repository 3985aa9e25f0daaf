"""Log lines of the transports: never one per message, never a traceback for what a peer did."""

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from mizu.guard.limits import Sampler


class TransportReport:
    """
    Counts everything, logs samples of it.

    What peers do wrong is limited for each address and kind. A bug of ours (an exception out of the
    receiver) is logged with its traceback once for each place it comes from, and counted after that.
    """

    log = Logger()

    def __init__(self, per_source_per_minute: int, now: Callable[[], float]) -> None:
        """:param now: monotonic seconds."""
        self._sampler = Sampler(per_source_per_minute)
        self._now = now
        self._bugs: dict[tuple[str, str, int], int] = {}
        self.garbage = 0  #: malformed messages
        self.bugs = 0  #: exceptions out of the receiver
        self.send_errors = 0  #: datagrams that the system refused to send

    @property
    def suppressed(self) -> int:
        """Log lines held back."""
        return self._sampler.suppressed

    def malformed(self, proto: str, host: str, port: int, code: str, text: str) -> None:
        """A peer sent something that is not SIP."""
        self.garbage += 1
        if self._sampler.admit(code, host, self._now()):
            self.log.info(
                "malformed message from {proto}:{host}:{port}: {code}: {text!r}",
                proto=proto,
                host=host,
                port=port,
                code=code,
                text=text[:200],
            )

    def send_failed(self, proto: str, host: str, port: int, reason: str) -> None:
        """The system refused to send."""
        self.send_errors += 1
        if self._sampler.admit("send", host, self._now()):
            self.log.warn(
                "cannot send to {proto}:{host}:{port}: {reason}",
                proto=proto,
                host=host,
                port=port,
                reason=reason,
            )

    def peer(self, kind: str, proto: str, host: str, port: int, text: str) -> None:
        """Something else a peer did that an operator may want to know, such as a refused connection."""
        if self._sampler.admit(kind, host, self._now()):
            self.log.info("{proto}:{host}:{port}: {text}", proto=proto, host=host, port=port, text=text)

    def bug(self, where: str) -> None:
        """Called in an ``except`` clause: the receiver raised. The server goes on."""
        self.bugs += 1
        failure = Failure()  # type: ignore[no-untyped-call]
        frame = failure.getTracebackObject()  # type: ignore[no-untyped-call]
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        line = (frame.tb_frame.f_code.co_filename, frame.tb_lineno) if frame is not None else ("", 0)
        key = (failure.type.__name__ if failure.type else "", *line)
        count = self._bugs.get(key, 0)
        if count or len(self._bugs) < 256:
            self._bugs[key] = count + 1
        if not count:
            self.log.failure(
                "an error of ours while handling a message from {where}", failure=failure, where=where
            )
