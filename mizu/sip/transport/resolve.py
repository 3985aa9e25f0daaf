"""DNS for :mod:`mizu.sip.locate`: asked through ``twisted.names``, kept for the TTL, all of it bounded."""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from random import Random, SystemRandom
from socket import AF_INET6, inet_ntop
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.names import client, dns, error, hosts
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from mizu.sip.flow import Hop
from mizu.sip.locate import Answers, Naptr, Query, Record, Srv, Steps, locate
from mizu.sip.transport.reach import family_of

#: A look-up is answered after this long at the latest, seconds, with what is known by then.
SEARCH_S = 4.0
#: Repetitions of one question, seconds.
ASK_S = (1, 2)
#: Bounds of how long an answer is kept, seconds.
TTL_MIN_S, TTL_MAX_S = 1.0, 3600.0
#: How long it is remembered that a name does not exist, when the zone does not say; and that nobody answered.
ABSENT_S, FAILED_S = 60.0, 5.0
ABSENT_MAX_S = 300.0
#: Questions under way; one more is taken as unanswered.
UNDER_WAY_MAX = 500
#: Records of one answer that are looked at, and links of a CNAME chain.
RECORDS_MAX = 64
CNAME_MAX = 8
#: ``/etc/hosts`` and ``resolv.conf`` are looked at again after this long, seconds.
FILES_S = 30.0

_TYPES = {"A": dns.A, "AAAA": dns.AAAA, "SRV": dns.SRV, "NAPTR": dns.NAPTR}
_name_ok = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*"
).fullmatch

_Told = Callable[[Sequence[Record]], None]


class DnsResolver:
    """Implements :class:`mizu.sip.flow.Resolver`."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        reaches: Callable[[], Collection[tuple[str, int]]],
        *,
        cache_max: int = 10_000,
        random: Random | None = None,
        names: Any = None,
        hosts_file: str = "/etc/hosts",
        resolv_conf: str = "/etc/resolv.conf",
    ) -> None:
        """
        :param reactor: IReactorTime, IReactorUDP and IReactorTCP.
        :param reaches: (protocol, 4 or 6) of what we can send with.
        :param cache_max: answers kept.
        :param names: an ``IResolver`` of Twisted instead of the name servers of ``resolv_conf``.
        """
        self._reactor = reactor
        self._reaches = reaches
        self._cache_max = max(1, cache_max)
        self._random = random or SystemRandom()
        self._given_names = names
        self._hosts_file = hosts_file
        self._resolv_conf = resolv_conf
        self._names: Any = None
        self._names_until_s = 0.0
        self._servers: list[tuple[str, int]] = []
        self._cache: OrderedDict[Query, tuple[float, Sequence[Record]]] = OrderedDict()
        self._under_way: dict[Query, list[_Told]] = {}
        self._searches: dict[_Search, None] = {}
        self._plain: dict[str, list[Hop]] = {}  # hops of numeric URIs, which need no question
        self._plain_reaches: Collection[tuple[str, int]] = ()
        self.hits = 0
        self.asked = 0
        self.failed = 0

    def resolve(self, uri: str, done: Callable[[Sequence[Hop]], None]) -> None:
        """See :meth:`mizu.sip.flow.Resolver.resolve`. Answers within four seconds."""
        reaches = self._reaches()
        key = _place_of(uri)
        if key:
            if reaches != self._plain_reaches:
                self._plain, self._plain_reaches = {}, reaches
            hops = self._plain.get(key)
            if hops is not None:
                _tell(done, list(hops))
                return
        steps = locate(uri, reaches, self._random)
        try:
            questions = next(steps)
        except StopIteration as end:
            if key and end.value and len(self._plain) < self._cache_max:
                self._plain[key] = end.value
            _tell(done, list(end.value))
            return
        _Search(self, steps, done).begin(questions)

    def counts(self) -> dict[str, int]:
        """Figures for status and metrics."""
        return {
            "cached": len(self._cache),
            "under_way": len(self._under_way),
            "hits": self.hits,
            "asked": self.asked,
            "failed": self.failed,
        }

    def forget(self) -> None:
        """Drop every cached answer."""
        self._cache.clear()

    def close(self) -> None:
        """Answer everything that is under way with nothing."""
        for search in list(self._searches):
            search.finish([])
        self._under_way.clear()

    # ------------------------------------------------------------ for _Search

    def now(self) -> float:
        """Monotonic seconds of the reactor."""
        return float(self._reactor.seconds())

    def known(self, query: Query) -> Sequence[Record] | None:
        """What the cache says; ``None``: nothing."""
        entry = self._cache.get(query)
        if entry is None:
            return None
        if entry[0] <= self.now():
            del self._cache[query]
            return None
        self.hits += 1
        return entry[1]

    def ask(self, query: Query, told: _Told) -> None:
        """Ask. ``told`` is called once, perhaps before this returns; without records: there is no answer."""
        waiting = self._under_way.get(query)
        if waiting is not None:
            waiting.append(told)
            return
        if not _name_ok(query.name):
            told(())
            return
        local = self._from_hosts(query)
        if local:
            self._keep(query, local, FILES_S)
            told(local)
            return
        if len(self._under_way) >= UNDER_WAY_MAX:
            self.failed += 1
            told(())
            return
        self.asked += 1
        self._under_way[query] = [told]
        try:
            answered = self._resolver().query(
                dns.Query(query.name.encode("ascii"), _TYPES[query.type], dns.IN), ASK_S
            )
        except Exception as wrong:  # e.g. no file descriptor left for the question's socket
            self._answer(query, (), FAILED_S)
            self.log.warn(
                "cannot ask for {type} {name}: {wrong}", type=query.type, name=query.name, wrong=str(wrong)
            )
            return
        answered.addCallbacks(self._answered, self._unanswered, (query,), None, (query,), None)
        answered.addErrback(self._bug, query)

    def begun(self, search: "_Search") -> None:
        self._searches[search] = None

    def ended(self, search: "_Search") -> None:
        self._searches.pop(search, None)

    def later(self, delay_s: float, call: Callable[[], None]) -> IDelayedCall:
        made: IDelayedCall = self._reactor.callLater(delay_s, call)
        return made

    # ------------------------------------------------------------ answers

    def _answered(self, answer: Any, query: Query) -> None:
        headers, authority, _ = answer
        records, ttl_s = _records(query, headers)
        if not records:
            ttl_s = _absent_s(authority)
        self._answer(query, records, ttl_s)

    def _unanswered(self, failure: Failure, query: Query) -> None:
        if failure.check(error.DNSNameError):  # type: ignore[no-untyped-call]
            self._answer(query, (), ABSENT_S)
            return
        self.failed += 1
        self._answer(query, (), FAILED_S)

    def _bug(self, failure: Failure, query: Query) -> None:
        self.log.failure("an answer for {type} {name} went wrong", failure, type=query.type, name=query.name)
        if query in self._under_way:
            self._answer(query, (), FAILED_S)

    def _answer(self, query: Query, records: Sequence[Record], ttl_s: float) -> None:
        self._keep(query, records, ttl_s)
        for told in self._under_way.pop(query, ()):
            told(records)

    def _keep(self, query: Query, records: Sequence[Record], ttl_s: float) -> None:
        cache = self._cache
        cache.pop(query, None)
        if len(cache) >= self._cache_max:
            del cache[next(iter(cache))]  # the oldest
        cache[query] = (self.now() + min(max(ttl_s, TTL_MIN_S), TTL_MAX_S), records)

    # ------------------------------------------------------------ where answers come from

    def _from_hosts(self, query: Query) -> Sequence[Record]:
        if query.type not in ("A", "AAAA"):
            return []
        path = FilePath(self._hosts_file)
        version = 4 if query.type == "A" else 6
        found = hosts.searchFileForAll(path, query.name.encode("ascii"))  # type: ignore[no-untyped-call]
        return [str(one) for one in found if family_of(one) == version][:RECORDS_MAX]

    def _resolver(self) -> Any:
        """``twisted.names`` with the name servers of ``resolv.conf``, which is read again when it is old."""
        if self._given_names is not None:
            return self._given_names
        if self._names is None or self.now() >= self._names_until_s:
            self._names_until_s = self.now() + FILES_S
            servers = _name_servers(self._resolv_conf)
            if self._names is None or servers != self._servers:
                # Not client.createResolver: it polls the file with a timer and keeps a second cache.
                self._names = client.Resolver(servers=servers, reactor=self._reactor)  # type: ignore[no-untyped-call]
                self._servers = servers
        return self._names


class _Search:
    """One URI on its way through the steps of RFC 3263."""

    def __init__(self, resolver: DnsResolver, steps: Steps, done: Callable[[Sequence[Hop]], None]) -> None:
        self._resolver = resolver
        self._steps = steps
        self._done: Callable[[Sequence[Hop]], None] | None = done
        self._answers: dict[Query, Sequence[Record]] = {}
        self._missing = 0
        self._round = 0
        self._deadline: IDelayedCall | None = None
        self._late = False

    def begin(self, questions: list[Query]) -> None:
        """Look for answers in the cache, ask for the others."""
        known, missing = self._look_up(questions)
        if missing and self._late:
            self.finish([])
        elif missing:
            self._ask(known, missing)
        else:
            self.step(known)

    def step(self, answers: Answers) -> None:
        """Go on with these answers."""
        if self._done is None:
            return
        try:
            questions = self._steps.send(answers)
        except StopIteration as end:
            self.finish(end.value)
            return
        self.begin(questions)

    def _look_up(self, questions: list[Query]) -> tuple[dict[Query, Sequence[Record]], list[Query]]:
        known: dict[Query, Sequence[Record]] = {}
        missing = []
        for question in dict.fromkeys(questions):
            records = self._resolver.known(question)
            if records is None:
                missing.append(question)
            else:
                known[question] = records
        return known, missing

    def _ask(self, known: dict[Query, Sequence[Record]], missing: list[Query]) -> None:
        if self._deadline is None:
            self._deadline = self._resolver.later(SEARCH_S, self._expired)
            self._resolver.begun(self)
        self._answers = known
        self._missing = len(missing)
        self._round += 1
        this_round = self._round
        for question in missing:
            self._resolver.ask(question, lambda records, q=question: self._told(this_round, q, records))  # type: ignore[misc]

    def _told(self, this_round: int, question: Query, records: Sequence[Record]) -> None:
        if self._done is None or this_round != self._round:
            return  # too late
        self._answers[question] = records
        self._missing -= 1
        if not self._missing:
            self.step(self._answers)

    def _expired(self) -> None:
        """Take what is there; ask nothing more."""
        self._late = True
        self._round += 1
        self.step(self._answers)

    def finish(self, hops: Sequence[Hop]) -> None:
        """Tell the result, once."""
        done, self._done = self._done, None
        if self._deadline is not None:
            if self._deadline.active():
                self._deadline.cancel()
            self._resolver.ended(self)
        if done is not None:
            _tell(done, hops)


def _tell(done: Callable[[Sequence[Hop]], None], hops: Sequence[Hop]) -> None:
    try:
        done(hops)
    except Exception:
        DnsResolver.log.failure("the receiver of a look-up raised")


def _place_of(uri: str) -> str:
    """What of a URI decides where it leads, when its user part is a plain word or number; else nothing."""
    head, at, rest = uri.partition("@")
    if not at:
        return uri
    scheme, _, user = head.partition(":")
    user = user.removeprefix("+")
    return f"{scheme}@{rest}" if user.isalnum() and user.isascii() else ""


def _records(query: Query, headers: Sequence[Any]) -> tuple[list[Record], float]:
    """Records that answer the question, along its CNAMEs, and their shortest TTL in seconds."""
    wanted = _TYPES[query.type]
    aliases: dict[str, tuple[str, float]] = {}
    by_name: dict[str, list[Any]] = {}
    for header in headers[: 4 * RECORDS_MAX]:
        name = _text(header.name)
        if header.type == dns.CNAME and header.payload is not None:
            aliases[name] = (_text(header.payload.name), header.ttl)
        elif header.type == wanted and header.payload is not None:
            by_name.setdefault(name, []).append(header)
    name, ttl_s = query.name, TTL_MAX_S
    for _ in range(CNAME_MAX):
        if name in by_name or name not in aliases:
            break
        name, alias_ttl_s = aliases[name]
        ttl_s = min(ttl_s, alias_ttl_s)
    found: list[Record] = []
    for header in by_name.get(name, [])[:RECORDS_MAX]:
        record = _record(query.type, header.payload)
        if record is not None:
            found.append(record)
            ttl_s = min(ttl_s, header.ttl)
    return found, ttl_s


def _record(kind: str, payload: Any) -> Record | None:
    if kind in ("A", "AAAA"):
        address = str(payload.dottedQuad()) if kind == "A" else inet_ntop(AF_INET6, payload.address)
        return address if family_of(address) else None
    if kind == "SRV":
        return Srv(payload.priority, payload.weight, payload.port, _text(payload.target) or ".")
    return Naptr(
        payload.order,
        payload.preference,
        payload.flags.string.decode("latin-1"),
        payload.service.string.decode("latin-1"),
        _text(payload.replacement),
    )


def _text(name: dns.Name) -> str:
    return name.name.decode("latin-1").lower().rstrip(".")


def _absent_s(authority: Sequence[Any]) -> float:
    """How long an empty answer holds (RFC 2308 5)."""
    for header in authority[:RECORDS_MAX]:
        if header.type == dns.SOA and header.payload is not None:
            return float(min(header.ttl, header.payload.minimum, ABSENT_MAX_S))
    return ABSENT_S


def _name_servers(path: str) -> list[tuple[str, int]]:
    """(address, 53) of each ``nameserver`` line; the local one when there is none."""
    found: list[tuple[str, int]] = []
    try:
        with open(path, "rb") as lines:
            for line in lines.read(65_536).decode("latin-1").splitlines():
                words = line.split()
                if len(words) > 1 and words[0] == "nameserver" and family_of(words[1]):
                    found.append((words[1], dns.PORT))
    except OSError:
        pass
    return found or [("127.0.0.1", dns.PORT)]
