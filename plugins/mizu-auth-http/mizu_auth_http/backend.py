"""The backend: asks, and knows what to say when nobody answers."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from twisted.logger import Logger
from zope.interface import alsoProvides, implementer

from mizu.auth.interfaces import IByUsername
from mizu.errors import StoreBusy
from mizu.interfaces import IAuthBackend
from mizu.model import AuthAnswer, AuthQuery
from mizu_auth_http.answers import question, read_answer
from mizu_auth_http.breaker import Breaker

if TYPE_CHECKING:
    from mizu.plugins.mizu_auth_http_dropin import HttpSettings

#: Posts a body, gives status and body; raises whatever goes wrong.
Post = Callable[[bytes], Awaitable[tuple[int, bytes]]]


@implementer(IAuthBackend)
class HttpBackend:
    """
    :param post: how a question gets to the service.
    :param mono_s: monotonic seconds.
    """

    log = Logger()

    def __init__(self, settings: "HttpSettings", post: Post, mono_s: Callable[[], float]) -> None:
        self._settings = settings
        self._post = post
        self._mono_s = mono_s
        self._breaker = Breaker(settings.failures_max, settings.pause_s)
        self._in_flight = 0
        if settings.by_username:
            alsoProvides(self, IByUsername)

    async def find(self, query: AuthQuery) -> AuthAnswer | None:
        """See ``IAuthBackend``. :raise StoreBusy: the service is down, and ``when_down`` is ``reject``."""
        settings = self._settings
        if not query.username or (settings.by_username and not query.has_credentials):
            return None
        if self._in_flight >= settings.in_flight_max:
            return self._down("too many questions at a time")
        if not self._breaker.lets_through(self._mono_s()):
            return self._down("it has failed too often")
        self._in_flight += 1
        try:
            status, body = await self._post(question(query))
            answer = read_answer(status, body, query, settings.cache_s)
        except Exception as problem:
            self._failed(problem)
            return self._down(type(problem).__name__)
        finally:
            self._in_flight -= 1
        if self._breaker.open:
            self.log.info("{url} answers again", url=settings.url)
        self._breaker.succeeded()
        return answer

    def _failed(self, problem: Exception) -> None:
        was_open = self._breaker.open
        self._breaker.failed(self._mono_s())
        if not was_open:
            what = "; it is left alone for a while" if self._breaker.open else ""
            self.log.warn(
                "{url}: {kind}: {problem}{what}",
                url=self._settings.url,
                kind=type(problem).__name__,
                problem=str(problem)[:200],
                what=what,
            )

    def _down(self, why: str) -> AuthAnswer | None:
        if self._settings.when_down == "next":
            return None
        raise StoreBusy(f"the authorization service does not answer: {why}")
