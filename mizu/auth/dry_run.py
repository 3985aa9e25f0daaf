"""What would happen to a request, and why. Asks the backends as the authorizer does, and changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from mizu.auth.interfaces import IByUsername, IExplains
from mizu.errors import MizuError, StoreBusy
from mizu.interfaces import IAuthBackend
from mizu.model import Account, AuthAnswer, AuthQuery


@dataclass(frozen=True, slots=True)
class DryRun:
    """The outcome with its reasons, in the order in which they came up."""

    outcome: str  #: ``accepted``, ``password`` (accepted with the right one), ``challenged`` or ``refused``
    status: int  #: of the answer; 0: the request goes on
    account: str  #: whose request it is; empty: nobody's
    backend: str  #: which one knew; empty: none
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """The backends in their order, to try requests on (``mizu.console.services.AuthProbe``)."""

    backends: Sequence[tuple[str, IAuthBackend]]

    async def dry_run(self, query: AuthQuery) -> DryRun:
        """See :func:`dry_run`."""
        return await dry_run(self.backends, query)


async def dry_run(backends: Sequence[tuple[str, IAuthBackend]], query: AuthQuery) -> DryRun:
    """
    Try a request. A service that a backend asks over the network is asked, too.

    :param query: ``has_credentials``: credentials with that username, the password being right.
    """
    reasons: list[str] = []
    asks = 401 if query.method == "REGISTER" else 407
    for name, backend in backends:
        if IByUsername.providedBy(backend) and not query.has_credentials:
            reasons.append(f"{name}: goes by the username of credentials, and there are none")
            continue
        try:
            if IExplains.providedBy(backend):
                explaining: IExplains = backend
                reasons += [f"{name}: {reason}" for reason in await explaining.explain(query)]
            answer = await backend.find(query)
        except StoreBusy as busy:
            return DryRun("refused", 503, "", name, (*reasons, f"{name}: cannot say now: {busy}"))
        except MizuError as refusal:
            return DryRun("refused", refusal.sip_status, "", name, (*reasons, f"{name}: {refusal}"))
        if answer is None:
            reasons.append(f"{name}: knows nobody like that")
            continue
        return _judged(query, name, answer, reasons, asks)
    reasons.append("no such user: asked for a password, as everybody is")
    return DryRun("challenged", asks, "", "", tuple(reasons))


def _judged(query: AuthQuery, name: str, answer: AuthAnswer, reasons: list[str], asks: int) -> DryRun:
    account = answer.account
    if not account.enabled:
        reasons.append(f"{name}: {account.username} is disabled, or something above it is")
        return DryRun("challenged", asks, account.username, name, tuple(reasons))
    if answer.ha1 is not None and not query.has_credentials:
        reasons.append(f"{name}: {account.username} has to prove its password")
        return DryRun("challenged", asks, account.username, name, tuple(reasons))
    if answer.ha1 is not None and not answer.ha1:
        reasons.append(f"{name}: {account.username} has no password, so it can prove none")
        return DryRun("challenged", asks, account.username, name, tuple(reasons))
    with_password = answer.ha1 is not None
    proviso = ", if the password is right" if with_password else ""
    reasons.append(f"{name}: it is {account.username}{proviso}")
    status = _later(query, account, reasons)
    outcome = "refused" if status else "password" if with_password else "accepted"
    return DryRun(outcome, status, account.username, name, tuple(reasons))


def _later(query: AuthQuery, account: Account, reasons: list[str]) -> int:
    """What comes right after authorization: the status of a refusal, or 0."""
    if query.method == "REGISTER" and query.caller_number != account.username:
        reasons.append(f"registrar: To names {query.caller_number!r}, not {account.username!r}")
        return 403
    if query.method != "REGISTER" and not account.can_dial:
        reasons.append(f"{account.username} may not place calls (can_dial)")
        return 403
    return 0
