"""
Who sends this request? Digest credentials against the answers of the configured backends.

Nothing an outsider can see tells whether a username exists: an unknown name, a wrong password and a disabled
account get the same fresh challenge after the same work. Only a right password ends without asking the
backends; a wrong one always asks them, cached or not, so that the time tells nothing either, and a password
changed a moment ago is accepted although the old one is still cached.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mizu.auth.cache import Accepted, AuthCache, CacheKey, Entry
from mizu.auth.interfaces import IByUsername, ISelectsAtOnce
from mizu.auth.uri_match import digest_uri_fits
from mizu.errors import CallerMismatch, MizuError, StoreBusy
from mizu.interfaces import IAuthBackend, IClock
from mizu.model import AuthAnswer, AuthQuery
from mizu.sip.digest import (
    ALGORITHMS,
    Credentials,
    NonceCounts,
    NonceSigner,
    challenge,
    check,
    parse_credentials,
)
from mizu.sip.flow import Flow
from mizu.sip.message import Request

__all__ = ["Accepted", "Authorizer", "Challenge", "Decision", "Refused"]

#: Credentials of one request that are looked at; a client answers one challenge, seldom two.
_CREDENTIALS_MAX = 4
#: While the database is down an answer is used for so long after it should have been asked for again.
OUTAGE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Challenge:
    """Ask for credentials."""

    status: int  #: 401 or 407
    fields: tuple[tuple[str, str], ...]  #: headers of the answer
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Answer this; credentials would not help."""

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    code: str  #: stable word for logs and CDRs


Decision = Accepted | Challenge | Refused

#: What the backends have found, and whether it holds for every source.
Found = tuple[AuthAnswer | None, bool]


class FailureObserver(Protocol):
    """Told of each login that failed; the guard counts them."""

    def __call__(self, flow: Flow, username: str, code: str) -> None:
        """
        :param code: ``unknown_user``, ``wrong_password``, ``disabled``, ``replay``, ``bad_nonce`` or
            ``uri_mismatch``. For logs and counters only: never let the sender see it.
        """


def _ignore(flow: Flow, username: str, code: str = "") -> None:
    """Nobody counts."""


def _ignore_accepted(flow: Flow, username: str, proved: bool) -> None:
    """Nobody counts."""


def _ignore_challenge(flow: Flow) -> None:
    """Nobody counts."""


def _any_time(flow: Flow, username: str) -> bool:
    return True


class Authorizer:
    """
    Asks the backends in their order, checks digests, keeps answers.

    :param backends: (name, backend) in the order of use.
    :param realm: of the challenges, and part of every stored HA1.
    :param algorithms: offered in this order, one header each; of :data:`mizu.sip.digest.ALGORITHMS`.
    :param cache_limit: answers kept.
    :param on_failure: told of each failed login. Its credentials had a nonce that was sent to where they
        came from, so that address is real (not so for ``bad_nonce``).
    :param on_accept: told of each request let in (flow, username, whether :meth:`Authorizer.proves`).
    :param on_challenge: told of each challenge that answers no failed login.
    :param may_log_in: whether a password may be checked now (flow, username); if not, the challenge is
        repeated, and that is counted by whoever says so.
    """

    log = Logger()

    def __init__(
        self,
        backends: Sequence[tuple[str, IAuthBackend]],
        *,
        realm: str,
        signer: NonceSigner,
        counts: NonceCounts,
        clock: IClock,
        algorithms: Iterable[str] = ("MD5",),
        cache_limit: int = 200_000,
        on_failure: FailureObserver = _ignore,
        on_accept: Callable[[Flow, str, bool], None] = _ignore_accepted,
        on_challenge: Callable[[Flow], None] = _ignore_challenge,
        may_log_in: Callable[[Flow, str], bool] = _any_time,
    ) -> None:
        self._backends = list(backends)
        self._realm = realm
        self._signer = signer
        self._counts = counts
        counts.refuse_before(clock.wall_s())  # what was used before a restart is not known here
        self._clock = clock
        self._algorithms = tuple(algorithms)
        self._on_failure = on_failure
        self._on_accept = on_accept
        self._on_challenge = on_challenge
        self._may_log_in = may_log_in
        self._in_turn: Request | None = None  # the last request whose password may be checked
        self.cache = AuthCache(cache_limit)
        # Those that may know somebody without credentials; last the backend again, if it says so at once.
        self._open_backends = [
            (name, backend, backend if ISelectsAtOnce.providedBy(backend) else None)
            for name, backend in self._backends
            if not IByUsername.providedBy(backend)
        ]
        # Compared with when there is nothing real to compare with, so that the work is the same.
        self._dummy = {name: secrets.token_hex(make(b"").digest_size) for name, make in ALGORITHMS.items()}
        self._asking: dict[CacheKey, list[Deferred[Found]]] = {}
        self._last: tuple[Request, Decision] | None = None
        self._newest: tuple[Request | None, Credentials | None, str] = (None, None, "")
        self.accepted = 0  #: requests let in, for metrics
        self.challenged = 0  #: challenges made, for metrics
        self.failures: dict[str, int] = {}  #: failed logins by code, for metrics

    # ------------------------------------------------------------ what callers use

    def first_answer(self, request: Request, flow: Flow) -> Challenge | None:
        """
        A challenge for a request that carries nothing a backend would look at. Uses nothing up, so it may be
        given before a transaction exists, and again for each repetition of the request.

        :return: ``None``: take the request through a transaction and :meth:`authorize_now`.
        """
        credentials, nonce_is = self._read(request, flow)
        if credentials is None:
            if self._open_backends and self._may_be_known(request, flow):
                return None
            return self._challenge(request, flow)
        if nonce_is == "bad":
            return self._failed(request, flow, credentials.username, "bad_nonce")
        if nonce_is == "stale":
            return self._challenge(request, flow, stale=True)
        return None

    def authorize_now(self, request: Request, flow: Flow) -> Decision | None:
        """
        The decision, when it needs no backend. Call it once for each transaction: a nonce count is used up.
        (Called again for the very same object before any other, it repeats its decision.)

        :return: ``None``: ``await authorize(...)`` instead.
        """
        last = self._last
        if last is not None and last[0] is request:
            return last[1]
        try:
            decision = self._decide_now(request, flow)
        except MizuError as refusal:
            decision = self._refused(refusal)
        if decision is not None:
            self._last = (request, decision)
        return decision

    async def authorize(self, request: Request, flow: Flow) -> Decision:
        """The decision, asking the backends when it needs them. Raises nothing."""
        decision = self.authorize_now(request, flow)
        if decision is not None:
            return decision
        self.cache.misses += 1
        credentials, _ = self._read(request, flow)
        key: CacheKey | None = None
        try:
            query = _query(request, flow, credentials)
            key = self._open_key(flow, query) if credentials is None else self._key(query)
            if key is None:
                return self._challenge(request, flow)  # a rule has changed since it was looked at
            epoch = self.cache.epoch
            answer, any_source = await self._ask_once(key, query)
        except StoreBusy as busy:
            return self._during_outage(request, flow, credentials, key, busy)
        except MizuError as refusal:
            return self._refused(refusal)
        except Exception:
            self.log.failure("an authorization backend failed; the request was refused")
            return Refused(500, "Authorization Failed", (), "backend_failed")
        if any_source:
            key = query.username
        entry = self._entry(credentials, answer) if answer is not None else None
        decision = self._judge(request, flow, credentials, entry)
        # A wrong password is asked about each time, so nothing would be gained by keeping what was said to
        # it; and nothing is done for an account that exists that is not done for one that does not.
        if entry is None:
            self.cache.drop(key)
        elif credentials is None or isinstance(decision, Accepted):
            self._keep(key, entry, epoch)
        return decision

    def proves(self, request: Request, flow: Flow) -> bool:
        """
        Is the sender of a request that was accepted certainly where it came from? He answers a challenge that
        was sent there, or has a connection.
        """
        return flow.reliable or self._read(request, flow)[1] == "good"

    def forget(self, username: str | None) -> None:
        """Drop what is cached about an account; ``None``: about all."""
        self.cache.forget(username)
        self._last = None

    def counts(self) -> dict[str, int]:
        """Figures for status and metrics."""
        return {
            "accepted": self.accepted,
            "challenged": self.challenged,
            "cache_entries": len(self.cache),
            "cache_hits": self.cache.hits,
            "cache_misses": self.cache.misses,
            "nonces": len(self._counts),
            "replays": self._counts.replays,
            **{f"failed_{code}": count for code, count in self.failures.items()},
        }

    # ------------------------------------------------------------ deciding

    def _decide_now(self, request: Request, flow: Flow) -> Decision | None:
        credentials, nonce_is = self._read(request, flow)
        if credentials is None:
            return self._without_credentials(request, flow)
        if nonce_is == "stale":
            return self._challenge(request, flow, stale=True)
        if nonce_is == "bad":
            return self._failed(request, flow, credentials.username, "bad_nonce")
        if credentials.uri != request.uri and not digest_uri_fits(credentials.uri, request.uri):
            self._count_failure(flow, credentials.username, "uri_mismatch")
            return Refused(403, "Digest URI Differs", (), "uri_mismatch")
        if self._in_turn is not request:  # asked once for a request that is decided in two steps
            if not self._may_log_in(flow, credentials.username):
                return self._fresh_challenge(request, flow, stale=True)
            self._in_turn = request
        entry = self._cached(credentials, flow)
        if entry is None or entry.fresh_until_s < self._clock.mono_s():
            # The work of a check against a cached secret, so that time does not tell who is in the cache.
            check(credentials, request.method, self._dummy[credentials.algorithm])
            return None
        return self._judge_cached(request, flow, credentials, entry)

    def _without_credentials(self, request: Request, flow: Flow) -> Decision | None:
        key = self._open_key(flow, _query(request, flow, None)) if self._open_backends else None
        if key is None:
            return self._challenge(request, flow)
        entry = self.cache.get(key)
        if entry is None or entry.fresh_until_s < self._clock.mono_s():
            return None
        self.cache.hits += 1
        if entry.answer.ha1 is not None:
            return self._challenge(request, flow)
        return self._accept(entry, request, flow)

    def _judge_cached(
        self, request: Request, flow: Flow, credentials: Credentials, entry: Entry
    ) -> Decision | None:
        """What a cached answer alone can decide: a right password."""
        stored = entry.answer.ha1
        if stored is not None:
            secret = stored.get(credentials.algorithm)
            if secret is None or not check(credentials, request.method, secret):
                return None
        if not entry.answer.account.enabled:
            return None
        self.cache.hits += 1
        if stored is not None and not self._counts.use(credentials.nonce, credentials.nc):
            return self._replayed(request, flow, credentials.username)
        return self._accept(entry, request, flow)

    def _judge(
        self, request: Request, flow: Flow, credentials: Credentials | None, entry: Entry | None
    ) -> Decision:
        """Decide by what a backend has just said; ``None``: nobody knows the sender."""
        if credentials is None:
            if entry is None or entry.answer.ha1 is not None or not entry.answer.account.enabled:
                return self._challenge(request, flow)
            return self._accept(entry, request, flow)
        # The same steps for everybody, whatever is found.
        stored = entry.answer.ha1 if entry is not None else {}
        secret = (stored or {}).get(credentials.algorithm, self._dummy[credentials.algorithm])
        right = check(credentials, request.method, secret)
        if entry is None:
            return self._failed(request, flow, credentials.username, "unknown_user")
        if stored is not None and not right:
            return self._failed(request, flow, credentials.username, "wrong_password")
        if not entry.answer.account.enabled:
            return self._failed(request, flow, credentials.username, "disabled")
        if stored is not None and not self._counts.use(credentials.nonce, credentials.nc):
            return self._replayed(request, flow, credentials.username)
        return self._accept(entry, request, flow)

    def _during_outage(
        self,
        request: Request,
        flow: Flow,
        credentials: Credentials | None,
        key: CacheKey | None,
        busy: StoreBusy,
    ) -> Decision:
        """The database is away: who was known is still known, everybody else has to come again."""
        if credentials is not None:
            entry = self._cached(credentials, flow)
        else:
            entry = self.cache.get(key) if key is not None else None
        if entry is not None and self._clock.mono_s() < entry.fresh_until_s + OUTAGE_S:
            if credentials is None:
                if entry.answer.ha1 is None and entry.answer.account.enabled:
                    return self._accept(entry, request, flow)
            else:
                decision = self._judge_cached(request, flow, credentials, entry)
                if decision is not None:
                    return decision
        return self._refused(busy)

    # ------------------------------------------------------------ pieces

    def _read(self, request: Request, flow: Flow) -> tuple[Credentials | None, str]:
        """
        The credentials and what their nonce is; kept until the next request, because two steps ask.

        A nonce that was sent to another address counts as stale, over a connection too: over UDP it does not
        show that this one is real, and who has read credentials on their way shall not use them first. One of
        another node, or of a key that was lost, is stale as well. A phone that moved, or was moved, answers
        the new challenge by itself.
        """
        before, credentials, nonce_is = self._newest
        if before is not request:
            credentials, nonce_is = self._credentials(request), ""
            if credentials is not None:
                signer, nonce = self._signer, credentials.nonce
                nonce_is = signer.check(nonce, self._clock.wall_s())
                elsewhere = nonce_is == "good" and not signer.issued_to(nonce, flow.remote[0])
                if elsewhere or (nonce_is == "bad" and signer.may_be_anothers(nonce)):
                    nonce_is = "stale"
            self._newest = (request, credentials, nonce_is)
        return credentials, nonce_is

    def _credentials(self, request: Request) -> Credentials | None:
        """The credentials that answer one of our challenges; ``None``: there are none."""
        header = "authorization" if request.method == "REGISTER" else "proxy-authorization"
        for value in request.get_all(header)[:_CREDENTIALS_MAX]:
            found = parse_credentials(value)
            if (
                found is not None
                and found.realm == self._realm
                and found.algorithm in self._algorithms
                and found.qop == "auth"  # RFC 2069 replies prove too little: they can be replayed for ever
                and found.cnonce
                and found.nc
            ):
                return found
        return None

    def _challenge(self, request: Request, flow: Flow, *, stale: bool = False) -> Challenge:
        self._on_challenge(flow)
        if stale:
            return self._fresh_challenge(request, flow, stale=True)
        same = f"{request.get('via')}{request.get('call-id')}{request.get('cseq')}"
        return self._fresh_challenge(request, flow, same)

    def _fresh_challenge(
        self, request: Request, flow: Flow, same: str = "", *, stale: bool = False
    ) -> Challenge:
        """:param same: for repetitions of a request, which get the same challenge."""
        nonce = self._signer.make(self._clock.wall_s(), flow.remote[0], same)
        status, name = (
            (401, "WWW-Authenticate") if request.method == "REGISTER" else (407, "Proxy-Authenticate")
        )
        self.challenged += 1
        return Challenge(
            status,
            tuple([(name, challenge(self._realm, nonce, each, stale=stale)) for each in self._algorithms]),
            stale,
        )

    def _failed(self, request: Request, flow: Flow, username: str, code: str) -> Challenge:
        self._count_failure(flow, username, code)
        return self._fresh_challenge(request, flow)

    def _replayed(self, request: Request, flow: Flow, username: str) -> Challenge:
        self._count_failure(flow, username, "replay")
        return self._fresh_challenge(request, flow, stale=True)

    def _count_failure(self, flow: Flow, username: str, code: str) -> None:
        self.failures[code] = self.failures.get(code, 0) + 1
        self._on_failure(flow, username, code)

    def _accept(self, entry: Entry, request: Request, flow: Flow) -> Accepted:
        self.accepted += 1
        self._on_accept(flow, entry.accepted.username, self.proves(request, flow))
        return entry.accepted

    def _key(self, query: AuthQuery) -> CacheKey:
        """Under which credentials are asked about."""
        if not self._open_backends:
            return query.username
        return (query.source_host, query.source_port, query.username, "")

    def _cached(self, credentials: Credentials, flow: Flow) -> Entry | None:
        """What is known about these credentials: from anywhere, or from there."""
        entry = self.cache.get(credentials.username)
        if entry is None and self._open_backends:
            source_host, source_port = flow.remote
            entry = self.cache.get((source_host, source_port, credentials.username, ""))
        return entry

    def _may_be_known(self, request: Request, flow: Flow) -> bool:
        """Is there anything to ask about a request without credentials? Answered from memory."""
        source_host = flow.remote[0]
        for _name, _backend, selecting in self._open_backends:
            try:
                if selecting is None or selecting.select(source_host, lambda: _query(request, flow, None)):
                    return True
            except MizuError:
                return True  # told when it is decided
        return False

    def _open_key(self, flow: Flow, query: AuthQuery) -> CacheKey | None:
        """
        Under which a request without credentials is cached; ``None``: nobody can know it.

        :raise MizuError: a backend refuses it.
        """
        host, port = flow.remote
        for name, _backend, selecting in self._open_backends:
            if selecting is None:  # what it answers may depend on all that it is shown
                return (host, port, query.username, f"{query.method == 'REGISTER'}:{query.called_number}")
            username = selecting.select(host, lambda: query)
            if username is not None:
                return (host, port, username, f"={name}")
        return None

    def _refused(self, error: MizuError) -> Refused:
        if isinstance(error, CallerMismatch):
            self.failures[error.code] = self.failures.get(error.code, 0) + 1
        retry_s = getattr(error, "retry_after_s", 0)
        fields = (("Retry-After", str(retry_s)),) if retry_s else ()
        return Refused(error.sip_status, "" if retry_s else str(error), fields, error.code)

    def _entry(self, credentials: Credentials | None, answer: AuthAnswer) -> Entry:
        username = credentials.username if credentials is not None else answer.account.username
        return Entry(answer, Accepted(answer.account, username), self._clock.mono_s() + answer.cache_s)

    def _keep(self, key: CacheKey, entry: Entry, epoch: int) -> None:
        """Cache an answer, unless something was forgotten while it was on its way: it may be the old one."""
        answer = entry.answer
        selected = isinstance(key, tuple) and key[3].startswith("=")
        if selected and answer.account.username != key[2]:
            return  # a rule has changed meanwhile: the key stands for another account
        if answer.cache_s > 0 and epoch == self.cache.epoch:
            self.cache.put(key, entry)

    async def _ask_once(self, key: CacheKey, query: AuthQuery) -> Found:
        """Ask the backends; whoever wants to know the same meanwhile waits for that answer."""
        waiting = self._asking.get(key)
        if waiting is not None:
            answered: Deferred[Found] = Deferred()
            waiting.append(answered)
            return await answered
        waiting = self._asking[key] = []
        try:
            answer = await self._ask(query)
        except Exception as error:
            del self._asking[key]
            for other in waiting:
                other.errback(error)
            raise
        del self._asking[key]
        for other in waiting:
            other.callback(answer)
        return answer

    async def _ask(self, query: AuthQuery) -> Found:
        """The first answer, and whether the same would be found from every other source."""
        any_source = True
        for _name, backend in self._backends:
            by_username = IByUsername.providedBy(backend)
            if by_username and not query.has_credentials:
                continue
            answer = await backend.find(query)
            if answer is not None:
                everywhere = any_source and query.has_credentials and (by_username or answer.any_source)
                return answer, everywhere
            any_source = any_source and by_username
        return None, False


def _query(request: Request, flow: Flow, credentials: Credentials | None) -> AuthQuery:
    source_host, source_port = flow.remote
    party = request.to if request.method == "REGISTER" else request.from_
    claimed = party.uri.user
    called = request.request_uri
    return AuthQuery(
        method=request.method,
        username=credentials.username if credentials is not None else claimed,
        realm=credentials.realm if credentials is not None else "",
        source_host=source_host,
        source_port=source_port,
        proto=flow.proto,
        caller_number=claimed,
        called_number=called.user,
        has_credentials=credentials is not None,
        display_name=party.display if request.method != "REGISTER" else "",
    )
