"""Leaves a service alone for a while after it has failed several times in a row. Pure."""


class Breaker:
    """
    :param failures_max: failures in a row after which it opens.
    :param pause_s: how long nothing is let through then; after that one question is, to try.
    """

    def __init__(self, failures_max: int, pause_s: float) -> None:
        self._failures_max = failures_max
        self._pause_s = pause_s
        self._failures = 0
        self._closed_at_s = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """Has it failed too often?"""
        return self._failures >= self._failures_max

    def lets_through(self, now_s: float) -> bool:
        """May a question be asked now? ``True`` obliges to call ``succeeded`` or ``failed``."""
        if not self.open:
            return True
        if self._trying or now_s < self._closed_at_s:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """It has answered."""
        self._failures, self._trying = 0, False

    def failed(self, now_s: float) -> None:
        """It has not."""
        self._failures += 1
        self._trying = False
        if self.open:
            self._closed_at_s = now_s + self._pause_s
