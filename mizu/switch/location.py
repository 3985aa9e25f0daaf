"""
Who is registered where: every binding of every address of record, in memory, without I/O and without a clock.

An address of record is written as the account's username: all domains that are ours hold the same accounts.
"""

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

from mizu.errors import Overloaded
from mizu.model import Binding
from mizu.switch.way_back import NO_PROXIES, Proxies, without_connection

#: Listener, remote host and remote port of a stream connection.
StreamKey = tuple[str, str, int]


class _Record:
    """The bindings of one address of record, and when to look for expired ones."""

    __slots__ = ("bindings", "check_at_s")

    def __init__(self, bindings: tuple[Binding, ...], check_at_s: float) -> None:
        self.bindings = bindings
        self.check_at_s = check_at_s


class LocationTable:
    """
    The bindings. All times are wall time in seconds since the epoch, as in ``Binding.expires_at_s``.

    :param limit: bindings in all; :meth:`replace` refuses to go above it.
    :param proxies: whose Path is followed.
    """

    __slots__ = ("_count", "_due", "_limit", "_records", "_streams", "proxies")

    def __init__(self, limit: int, proxies: Proxies = NO_PROXIES) -> None:
        self._limit = limit
        self.proxies = proxies
        self._count = 0
        self._records: dict[str, _Record] = {}
        # When to check which address of record. A refresh that moves the expiry later costs nothing here:
        # the entry comes due, finds nothing expired and goes back in.
        self._due: list[tuple[float, str]] = []
        self._streams: dict[StreamKey, set[str]] = {}

    def __len__(self) -> int:
        """Bindings, those included that have expired since the last :meth:`expire`."""
        return self._count

    @property
    def limit(self) -> int:
        """Most bindings that may be held."""
        return self._limit

    @property
    def addresses(self) -> int:
        """Addresses of record with at least one binding."""
        return len(self._records)

    def __iter__(self) -> Iterator[str]:
        """Addresses of record that have bindings, in no order that means anything."""
        return iter(self._records)

    def get(self, aor: str) -> tuple[Binding, ...]:
        """Everything stored for an address of record, in the order of registration, expired or not."""
        record = self._records.get(aor)
        return record.bindings if record is not None else ()

    def lookup(self, aor: str, now_s: float) -> list[Binding]:
        """The bindings to ring: those that have not expired, highest q first, else oldest first."""
        record = self._records.get(aor)
        if record is None:
            return []
        live = [binding for binding in record.bindings if binding.expires_at_s > now_s]
        if len(live) > 1:
            live.sort(key=lambda binding: -binding.q_milli)
        return live

    def replace(self, aor: str, bindings: Sequence[Binding]) -> None:
        """
        From now on these and no others are the bindings of this address of record.

        :raise Overloaded: the table would grow above its limit; nothing was changed. It may always shrink.
        """
        record = self._records.get(aor)
        old = record.bindings if record is not None else ()
        count = self._count + len(bindings) - len(old)
        if count > self._limit and len(bindings) > len(old):
            raise Overloaded("the registrar's table is full")
        self._count = count
        if not bindings:
            if record is not None:
                del self._records[aor]
            self._reindex_streams(aor, old, ())
            return
        new = tuple(bindings)
        expires_at_s = new[0].expires_at_s
        if len(new) > 1:
            expires_at_s = min([binding.expires_at_s for binding in new])
        if record is None:
            self._records[aor] = _Record(new, expires_at_s)
            self._check_at(expires_at_s, aor)
        else:
            record.bindings = new
            if expires_at_s < record.check_at_s:
                record.check_at_s = expires_at_s
                self._check_at(expires_at_s, aor)
        self._reindex_streams(aor, old, new)

    def expire(self, now_s: float, limit: int = 1000) -> list[str]:
        """
        Drop what has expired.

        :param limit: addresses of record looked at in one call, so that no call takes long.
        :return: those that have lost a binding.
        """
        changed = []
        due = self._due
        while due and due[0][0] <= now_s and limit > 0:
            limit -= 1
            at_s, aor = heappop(due)
            record = self._records.get(aor)
            if record is None or record.check_at_s != at_s:
                continue  # removed meanwhile, or an entry of its own stands for it
            live = tuple(binding for binding in record.bindings if binding.expires_at_s > now_s)
            if len(live) < len(record.bindings):
                changed.append(aor)
                self._count -= len(record.bindings) - len(live)
                self._reindex_streams(aor, record.bindings, live)
            if not live:
                del self._records[aor]
                continue
            record.bindings = live
            record.check_at_s = min(binding.expires_at_s for binding in live)
            heappush(due, (record.check_at_s, aor))
        return changed

    @property
    def next_expiry_s(self) -> float | None:
        """When :meth:`expire` has something to look at, at the earliest; ``None``: never."""
        return self._due[0][0] if self._due else None

    def over_stream(self, listener: str, host: str, port: int) -> list[str]:
        """Addresses of record with a binding that was registered over this TCP or TLS connection."""
        return sorted(self._streams.get((listener, host, port), ()))

    def close_stream(self, listener: str, host: str, port: int) -> list[str]:
        """
        A TCP or TLS connection is gone: see ``way_back.without_connection`` for what becomes of its bindings.

        :return: addresses of record that have changed.
        """
        changed = self.over_stream(listener, host, port)
        for aor in changed:
            kept = []
            for binding in self.get(aor):
                if _stream_of(binding) != (listener, host, port):
                    kept.append(binding)
                elif (left := without_connection(binding, self.proxies)) is not None:
                    kept.append(left)
            self.replace(aor, kept)
        return changed

    def _reindex_streams(self, aor: str, old: Sequence[Binding], new: Sequence[Binding]) -> None:
        for binding in (*old, *new):
            if binding.proto != "udp":
                break
        else:
            return  # the usual case, and no set need be made for it
        before = {key for binding in old if (key := _stream_of(binding))}
        after = {key for binding in new if (key := _stream_of(binding))}
        if before == after:
            return
        for key in before - after:
            names = self._streams[key]
            names.discard(aor)
            if not names:
                del self._streams[key]
        for key in after - before:
            self._streams.setdefault(key, set()).add(aor)

    def _check_at(self, at_s: float, aor: str) -> None:
        heappush(self._due, (at_s, aor))
        # Entries of what was removed or shortened stay until they come due; too many are thrown out at once.
        if len(self._due) > 2 * len(self._records) + 1000:
            self._due[:] = [(record.check_at_s, name) for name, record in self._records.items()]
            heapify(self._due)


def _stream_of(binding: Binding) -> StreamKey | None:
    if binding.proto == "udp" or not binding.received_port:
        return None
    return (binding.local, binding.received_host, binding.received_port)
