"""Whose bearer token is it? First the one of the data directory, then those of operators in the database."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.logger import Logger

from mizu.errors import MizuError
from mizu.model import Operator
from mizu.web.policy import SingleToken

FAILURES_MAX = 20  #: wrong tokens from one address ...
WINDOW_S = 60.0  #: ... within this time, then none of them is looked up any more
ADDRESSES_MAX = 10_000
KNOWN_MAX = 1_000
_TOKEN = re.compile(r"mizu_[A-Za-z0-9_-]{43}\Z")


class TooManyFailures(MizuError):
    """Too many wrong tokens came from this address; try again later."""

    http_status, code = 429, "too_many_failures"
    retry_after_s = int(WINDOW_S)


class TokenStore(Protocol):
    """``mizu.store.operators.PostgresOperatorStore``."""

    def find(self, sha256: bytes, source: str) -> Awaitable[Operator | None]:
        """The operator whose valid token has this hash. :raise StoreBusy:"""


class OperatorDirectory:
    """
    See :class:`mizu.web.policy.Operators`.

    Each request looks its token up in the database, so that a revoked token is refused at once, everywhere.
    The token of the data directory works while the database is away.

    :param local: the token of the data directory.
    :param now_s: a monotonic clock.
    """

    log = Logger(namespace="mizu.web")

    def __init__(self, local: SingleToken, tokens: TokenStore | None, now_s: Callable[[], float]) -> None:
        self._local = local
        self._tokens = tokens
        self._now_s = now_s
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()  # address -> since, how many
        self._known: OrderedDict[bytes, None] = OrderedDict()  # hashes that were good: never held back

    async def of_token(self, token: str, source: str) -> Operator | None:
        """See the protocol. :raise TooManyFailures: :raise StoreBusy:"""
        operator = await self._local.of_token(token, source)
        if operator is not None or self._tokens is None:
            return operator
        if not _TOKEN.match(token):
            self._failed(source)
            return None
        sha256 = hashlib.sha256(token.encode("ascii")).digest()
        if sha256 not in self._known and self._held_back(source):
            raise TooManyFailures("too many wrong tokens from this address; try again in a minute")
        operator = await self._tokens.find(sha256, source)
        if operator is None:
            self._known.pop(sha256, None)
            self._failed(source)
            return None
        self._known[sha256] = None
        self._known.move_to_end(sha256)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return operator

    def _held_back(self, source: str) -> bool:
        since_s, count = self._failures.get(source, (0.0, 0))
        return count >= FAILURES_MAX and self._now_s() - since_s < WINDOW_S

    def _failed(self, source: str) -> None:
        now_s = self._now_s()
        since_s, count = self._failures.pop(source, (now_s, 0))
        if now_s - since_s >= WINDOW_S:
            since_s, count = now_s, 0
        self._failures[source] = (since_s, count + 1)
        if count + 1 == FAILURES_MAX:
            self.log.warn("{source}: {n} wrong tokens within a minute", source=source, n=FAILURES_MAX)
        if len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)
