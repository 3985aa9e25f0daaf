"""What an authorization backend may provide beside ``mizu.interfaces.IAuthBackend``, if it likes."""

from collections.abc import Awaitable, Callable, Sequence

from zope.interface import Interface

from mizu.model import AuthQuery


class IByUsername(Interface):
    """
    This backend knows people only by the username of their credentials. It is not asked about requests
    without credentials, and its answers hold for every source address. Without this mark a backend is
    asked about every request, and its answers hold for one source address, port and username only.
    """


class ISelectsAtOnce(Interface):
    """
    A backend that can say from memory whose a request without credentials would be. Without this such a
    request has to wait for ``find`` before it can be challenged.
    """

    def select(source_host: str, query: Callable[[], AuthQuery]) -> str | None:
        """
        The username of the account; ``find`` will be asked next, unless its answer is cached. ``None``: it is
        nobody this backend knows, so ``find`` is not asked.

        :param query: makes the query; call it only when the address alone does not decide.
        :raise CallerMismatch: it could be several.
        """


class IKeptFresh(Interface):
    """A backend that keeps something in memory which has to be read, and read again."""

    def prepare() -> Awaitable[None]:
        """Awaited before the server listens. :raise StoreBusy: it cannot be read now."""

    def sweep() -> None:
        """Called each second."""


class IExplains(Interface):
    """A backend that can say why it knows somebody or does not, for ``authtest``."""

    def explain(query: AuthQuery) -> Awaitable[Sequence[str]]:
        """Sentences for operators, without secrets. Changes nothing. :raise StoreBusy:"""
