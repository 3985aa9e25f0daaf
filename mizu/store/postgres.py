"""Connections to PostgreSQL that heal themselves, and the pool of them. The only user of txpostgres.

What this adds to txpostgres: no caller can cancel a running query; time is bounded in the server and, for a
server that vanished, here; waiting is bounded; every trouble with the database reaches the caller as
:class:`~mizu.errors.StoreBusy`; a lost connection is rebuilt for ever, without restart.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres.reconnection import ConnectionDead, DeadConnectionDetector
from txpostgres.txpostgres import Connection, Cursor, RollbackFailed

from mizu.deferreds import shield
from mizu.errors import ConfigError, StoreBusy
from mizu.store.target import resolved

T = TypeVar("T")
Params = Mapping[str, object] | Sequence[object] | None
Rows = list[tuple[Any, ...]]

IntegrityError = psycopg2.IntegrityError  #: a constraint refused the change
UniqueViolation = psycopg2.errors.UniqueViolation
#: Deadlock or serialization failure: the same transaction may do well when it is run again.
Collision = psycopg2.extensions.TransactionRollbackError
BadRow = (psycopg2.DataError, psycopg2.IntegrityError)  #: what is in a row is the reason, not the database
DataProblem = (
    psycopg2.DataError,
    psycopg2.IntegrityError,
    psycopg2.ProgrammingError,
    psycopg2.NotSupportedError,
)

_log = Logger()

_RETRY_CODES = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_RETRY_MAX = 3
_DEAD_CODES = frozenset({"57P01", "57P02", "57P03", "57P05"})  # shutdowns, not yet up, idle session ended
_CONNECT_MAX_S = 5.0
#: A lock was not to be had in time.
_OTHERS = (
    "somebody else is changing what this has to do with, perhaps an import that is all or none, a dry run, "
    "or moves of accounts ('import status' shows imports); nothing was changed, try again when that is over"
)
_ANSWER_EXTRA_S = (
    3.0  # a server that is alive answers this long after its own statement_timeout at the latest
)


def parse_url(url: str) -> dict[str, str]:
    """
    Connection parameters of a URL or ``key=value`` text.

    :raise ConfigError: it is neither. The text is not repeated, it may hold a password.
    """
    try:
        return {key: str(value) for key, value in psycopg2.extensions.parse_dsn(url).items()}
    except psycopg2.ProgrammingError:
        raise ConfigError(
            ["database.url: not a PostgreSQL URL; want postgresql://user:password@host:port/name"]
        ) from None


def is_dead(failure: Failure) -> bool:
    """Does this failure mean that the connection cannot be used any more?"""
    error = failure.value
    if isinstance(error, RollbackFailed | ConnectionDone | ConnectionLost | psycopg2.InterfaceError):
        return True
    if isinstance(error, psycopg2.OperationalError):
        code = error.pgcode
        return code is None or code.startswith("08") or code in _DEAD_CODES
    if isinstance(error, psycopg2.ProgrammingError):
        return error.pgcode is None and "asynchronous query" in str(error)
    return type(error) is psycopg2.DatabaseError and error.pgcode is None


def as_busy(failure: Failure) -> Failure:
    """Turn every trouble of the database into StoreBusy; what the data caused stays as it is."""
    error = failure.value
    if isinstance(error, RollbackFailed):
        failure, error = error.originalFailure, error.originalFailure.value
    if isinstance(error, CancelledError):
        return failure_of(StoreBusy("the database took too long"))
    if isinstance(error, ConnectionDead | ConnectionDone | ConnectionLost):
        return failure_of(StoreBusy("the database is down"))
    if isinstance(error, psycopg2.errors.LockNotAvailable):
        return failure_of(StoreBusy(_OTHERS))
    if isinstance(error, psycopg2.Error) and (is_dead(failure) or not isinstance(error, DataProblem)):
        return failure_of(StoreBusy(f"the database: {_first_line(error)}"))
    return failure


def always_busy(failure: Failure) -> Failure:
    """StoreBusy, whatever it was."""
    failure = as_busy(failure)
    if isinstance(failure.value, StoreBusy):
        return failure
    return failure_of(StoreBusy(f"the database: {_first_line(failure.value)}"))


def failure_of(error: Exception) -> Failure:
    """The error as Deferreds carry it."""
    return Failure(error)  # type: ignore[no-untyped-call]


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def describe(failure: Failure) -> str:
    """One line for the log about why a connection failed."""
    return _first_line(failure.value)


def _backoff() -> Iterator[float]:
    """Seconds before each attempt to connect again."""
    delay_s = 0.05
    while True:
        yield delay_s
        delay_s = min(delay_s * 1.7, 2.0)


class _Healer(DeadConnectionDetector):  # type: ignore[misc]
    """The detector of txpostgres with a retry loop that can be stopped and that resolves names anew."""

    def __init__(self, link: "Link", reactor: Any) -> None:
        super().__init__(deathChecker=is_dead, reactor=reactor)
        self._link = link
        self._delays = _backoff()
        self._timer: Any = None
        self._stopped = False

    def startReconnecting(self, f: Failure) -> None:
        self._delays = _backoff()
        self._link.lost(f)
        self._again()

    def _again(self) -> None:
        if not self._stopped:
            self._timer = self.reactor.callLater(next(self._delays), self._attempt)

    def _attempt(self) -> None:
        self._timer = None
        attempt = maybeDeferred(self._link.connect_once)
        attempt.addCallbacks(lambda _: self.connectionRecovered(), self._failed)
        attempt.addErrback(lambda failure: _log.failure("reconnecting failed", failure=failure))

    def connectionRecovered(self) -> None:
        self.connectionIsDead = False
        self._link.recovered()

    def _failed(self, failure: Failure) -> None:
        self._link.problem = describe(failure)
        self._again()

    def stop(self) -> None:
        self._stopped = True
        self.connectionIsDead = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Connection(Connection):  # type: ignore[misc]
    """A connection whose death while idle is no unhandled error with a traceback."""

    def doRead(self) -> Exception | None:
        try:
            super().doRead()
        except psycopg2.Error as error:
            return error  # the reactor then calls connectionLost, which tells the detector
        return None


class Link:
    """
    One connection that heals itself. Calls must not overlap: the user waits for each.

    :param parameters: gives the connection parameters of libpq, asked before each attempt.
    :param settings: PostgreSQL settings of the session, e.g. ``{"statement_timeout": "2000"}`` (ms).
    :param setup: statements run on each new connection before it is used (LISTEN, PREPARE).
    :param replan_s: prepared statements are planned anew after so long; 0: never. A plan that was made for an
        empty table reads all of it, and lasts until PostgreSQL has looked at the table (autovacuum).
    :param changed: told after each loss and recovery.
    """

    def __init__(
        self,
        reactor: Any,
        parameters: Callable[[], Mapping[str, str]],
        *,
        settings: Mapping[str, str] | None = None,
        setup: Sequence[str] = (),
        replan_s: float = 0.0,
        changed: Callable[["Link"], None] = lambda link: None,
        observer: Callable[[str], None] | None = None,
        answer_max_s: float = 2.0,
    ) -> None:
        self._reactor = reactor
        self._parameters = parameters
        self._options = " ".join(f"-c {key}={value}" for key, value in (settings or {}).items())
        self._setup = setup
        self._replan_s = replan_s
        self._planned_at_s = 0.0
        self._changed = changed
        self._answer_max_s = answer_max_s + _ANSWER_EXTRA_S
        self._healer = _Healer(self, reactor)
        self._connection = _Connection(reactor, None, self._healer)
        if observer is not None:
            self._connection.addNotifyObserver(lambda notify: observer(notify.payload))
        self._busy_since_s: float | None = None
        self._connecting_since_s: float | None = None
        self.ready = False
        self.stopped = False
        self.pass_retries = False  #: leave failures that a retry may cure to the user, who then retries
        self.problem = ""  #: why it is not ready, one line

    async def open(self) -> None:
        """Connect once. :raise StoreBusy: it did not work; nothing is retried."""
        try:
            await self.connect_once()
        except Exception as error:
            self.stop()
            raise StoreBusy(_first_line(error)) from error
        self.ready = True

    def start(self) -> None:
        """Connect, and again, until it works."""
        self._healer.connectionIsDead = True
        self._healer._attempt()

    def connect_once(self) -> Deferred[None]:
        """One attempt to connect and set the session up."""
        return Deferred.fromCoroutine(self._connect())

    async def _connect(self) -> None:
        parameters = {"application_name": "mizu", "tcp_user_timeout": "10000", **self._parameters()}
        parameters["options"] = f"{parameters.get('options', '')} {self._options}".strip()
        parameters = await resolved(parameters, self._reactor)
        if self.stopped:
            raise StoreBusy("stopped")
        self._close()
        self._connecting_since_s = self._reactor.seconds()
        try:
            await self._connection.connect(**parameters)
            for statement in self._setup:
                await self._connection.cursor().execute(statement)
        except BaseException:
            self._close()
            raise
        finally:
            self._connecting_since_s = None
        if self.stopped:  # meanwhile
            self._close()
            raise StoreBusy("stopped")

    def lost(self, failure: Failure) -> None:
        self.ready = False
        self.problem = describe(failure)
        if not self.stopped:
            self._changed(self)

    def recovered(self) -> None:
        self.ready, self.problem = True, ""
        self._changed(self)

    def check(self) -> None:
        """Close the connection when the server has been silent for too long. Call about once a second."""
        now_s = self._reactor.seconds()
        busy, connecting = self._busy_since_s, self._connecting_since_s
        if busy is not None and now_s - busy > self._answer_max_s:
            self._close()  # fails the statement; the healer then connects again
        elif connecting is not None and now_s - connecting > _CONNECT_MAX_S:
            self._close()

    def _close(self) -> None:
        if self._connection.pollable() is not None:
            self._connection.close()

    def stop(self) -> None:
        """Close for good. A statement under way fails with StoreBusy."""
        self.stopped, self.ready = True, False
        self._healer.stop()
        self._close()

    def query(self, sql: str, params: Params = None) -> Deferred[Rows]:
        """Rows of one statement. :raise StoreBusy:"""
        return self._watched(self._connection.runQuery, self._planned(sql), params)

    def operate(self, sql: str, params: Params = None) -> Deferred[None]:
        """
        Run a statement that gives no rows, or several joined by ``;``, which are one transaction.

        :raise StoreBusy:
        """
        return self._watched(self._connection.runOperation, self._planned(sql), params)

    def _planned(self, sql: str) -> str:
        now_s = self._reactor.seconds()
        if not self._replan_s or now_s - self._planned_at_s < self._replan_s:
            return sql
        self._planned_at_s = now_s
        return f"DISCARD PLANS;{sql}"

    def notices(self) -> list[str]:
        """What the server said beside its answers since the last call: warnings and the like, a line each."""
        connection = self._connection.pollable()
        said = [text.strip() for text in connection.notices] if connection is not None else []
        if said:
            del connection.notices[:]
        return said

    def transact(self, work: Callable[[Cursor], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """Begin, await ``work(cursor)``, commit; roll back when it raises. :raise StoreBusy:"""
        return self._watched(
            self._connection.runInteraction, lambda cursor: Deferred.fromCoroutine(work(cursor))
        )

    def _watched(self, method: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if self.stopped:
            return fail(StoreBusy("the store is stopped"))
        self._busy_since_s = self._reactor.seconds()
        running: Deferred[Any] = method(*args)
        return running.addBoth(self._idle)

    def _idle(self, result: Any) -> Any:
        self._busy_since_s = None
        if not isinstance(result, Failure) or (self.pass_retries and _may_retry(result)):
            return result
        return as_busy(result)


def _may_retry(failure: Failure) -> bool:
    return isinstance(failure.value, psycopg2.Error) and failure.value.pgcode in _RETRY_CODES


Job = Callable[[Link], Deferred[Any]]


class Pool:
    """
    Connections shared by calls that each need one for a short while.

    :param waiting_max: calls that may wait for a connection; one more is refused at once.
    """

    def __init__(
        self, make_link: Callable[[Callable[[Link], None]], Link], size: int, waiting_max: int
    ) -> None:
        self.links = [make_link(self._link_changed) for _ in range(size)]
        for link in self.links:
            link.pass_retries = True
        self._idle: list[Link] = []
        self._waiting: deque[tuple[Job, Deferred[Any]]] = deque()
        self._waiting_max = waiting_max
        self.on_change: Callable[[], None] = lambda: None

    def start(self) -> None:
        for link in self.links:
            link.start()

    def stop(self) -> None:
        """Close every connection; what runs or waits fails with StoreBusy."""
        self._idle.clear()
        for link in self.links:
            link.stop()
        self._refuse_waiting()

    @property
    def stopped(self) -> bool:
        """For good."""
        return all(link.stopped for link in self.links)

    @property
    def ready(self) -> int:
        """Connections that work now."""
        return sum(link.ready for link in self.links)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def check(self) -> None:
        for link in self.links:
            link.check()

    def query(self, sql: str, params: Params = None) -> Deferred[Rows]:
        """Rows of one statement. :raise StoreBusy:"""
        return self._run(lambda link: link.query(sql, params))

    def operate(self, sql: str, params: Params = None) -> Deferred[None]:
        """One statement without rows. :raise StoreBusy:"""
        return self._run(lambda link: link.operate(sql, params))

    def transact(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> Deferred[T]:
        """
        ``await work(cursor, *args)`` inside a transaction: the only way to run an ``async def``.

        It is run again, at most three times, after a deadlock or serialization failure, so it must do
        nothing outside the transaction. :raise StoreBusy:
        """
        return self._run(lambda link: link.transact(lambda cursor: work(cursor, *args)))

    def _run(self, job: Job) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        if self._idle:
            self._start(self._idle.pop(), job, done)
        elif not any(link.ready for link in self.links):
            return fail(StoreBusy("the database is down"))
        elif len(self._waiting) >= self._waiting_max:
            return fail(StoreBusy("too many queries wait for the database"))
        else:
            self._waiting.append((job, done))
        return shield(done)

    def _start(self, link: Link, job: Job, done: Deferred[Any], attempt: int = 1) -> None:
        def finished(result: Any) -> None:
            if isinstance(result, Failure) and _may_retry(result):
                if attempt <= _RETRY_MAX and link.ready:
                    self._start(link, job, done, attempt + 1)
                    return
                result = as_busy(result)
            if link.ready:
                self._free(link)
            done.callback(result)

        maybeDeferred(job, link).addBoth(finished)

    def _free(self, link: Link) -> None:
        if self._waiting:
            self._start(link, *self._waiting.popleft())
        elif link not in self._idle:
            self._idle.append(link)

    def _link_changed(self, link: Link) -> None:
        if link.ready:
            self._free(link)
        else:
            if link in self._idle:
                self._idle.remove(link)
            if not self.ready:
                self._refuse_waiting()
        self.on_change()

    def _refuse_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft()[1].errback(StoreBusy("the database is down"))
