"""Accounts and their secrets in PostgreSQL. Look-ups that come together share one query."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from mizu.accounts.limits import limits_of
from mizu.accounts.usernames import check_username
from mizu.errors import BadRequest, Conflict, MizuError, NotFound, StoreBusy
from mizu.interfaces import IAccountStore, IDirectory
from mizu.model import Account, AccountType, AuthType, Limits
from mizu.store.arrays import texts
from mizu.store.fields import HA1_COLUMNS, USERNAME_MAX, columns_of
from mizu.store.postgres import IntegrityError, Pool, UniqueViolation
from mizu.store.text import storable

Found = tuple[Account, Mapping[str, str]]


def _limits(account: str) -> str:
    """The limits of an account, with the members of groups that it names as partners: hardly any does."""
    limits = f"{account}.limits"
    return f"CASE WHEN {limits} ? 'groups' THEN account_limits_with_members({limits}) ELSE {limits} END"


_OWNERS = "LEFT JOIN account p ON p.id = a.parent_id LEFT JOIN account g ON g.id = p.parent_id"
#: Of an account ``a`` with ``_OWNERS``. Two owners are joined, because the functions for any number of them
#: take as long as all the rest.
_ENABLED = """a.enabled AND NOT a.suspended AND NOT a.is_template
 AND coalesce(p.enabled AND NOT p.suspended, true) AND coalesce(g.enabled AND NOT g.suspended, true)
 AND (g.parent_id IS NULL OR account_ancestors_enabled(g.parent_id))"""
_REST = f"""CASE WHEN a.auth_type IN ({int(AuthType.TECH_PREFIX)}, {int(AuthType.IP_AND_TECH_PREFIX)})
 THEN a.tech_prefix ELSE '' END, {_limits("a")}, {_limits("p")}, g.id, {_limits("g")},
 CASE WHEN g.parent_id IS NOT NULL THEN account_above(g.parent_id) END,
 CASE WHEN a.is_company THEN a.id ELSE a.company_id END"""
_COLUMNS = f"""a.id, a.username, a.type, {_ENABLED}, a.parent_id, a.auth_type, a.can_dial, a.display_name,
 a.caller_number, a.max_contacts, a.trusted_identity, a.fix_nat, a.version, a.calling_circle, {_REST}"""
#: For a look-up. In the place of an account that does not exist there is one with id 0, as much to make, to
#: send and to read, so that the time of the answer does not tell which usernames there are.
_FOUND = f"""coalesce(a.id, 0), w.username, coalesce(a.type, 0), coalesce({_ENABLED}, false), a.parent_id,
 coalesce(a.auth_type, {int(AuthType.DIGEST)}), coalesce(a.can_dial, false), coalesce(a.display_name, ''),
 coalesce(a.caller_number, ''), coalesce(a.max_contacts, 0), coalesce(a.trusted_identity, false),
 coalesce(a.fix_nat, false), coalesce(a.version, 0), coalesce(a.calling_circle, 0), {_REST},
 CASE WHEN a.id IS NULL THEN '{"0" * 32}' ELSE a.ha1_md5 END,
 CASE WHEN a.id IS NULL THEN '{"0" * 64}' ELSE a.ha1_sha256 END"""
#: Run on each connection that looks accounts up.
PREPARE = (
    f"""PREPARE account_find (text[]) AS
SELECT {_FOUND} FROM unnest($1) w (username) LEFT JOIN account a ON a.username = w.username {_OWNERS}""",
    f"""PREPARE account_called (text, text, bigint) AS
SELECT {_COLUMNS} FROM account a {_OWNERS} WHERE a.id = coalesce(
 (SELECT id FROM account WHERE company_id = $3 AND short_number = $1 AND short_number <> ''),
 (SELECT id FROM account WHERE username = $1),
 (SELECT id FROM account WHERE phone_number = $2 AND phone_number <> ''),
 (SELECT account_id FROM phone_number WHERE number = $2))""",
)
_CALLED = "EXECUTE account_called (%s, %s, %s)"
_FIND = "EXECUTE account_find (%s)"
_LIST = f"""SELECT {_COLUMNS} FROM account a {_OWNERS} WHERE a.username LIKE %(pattern)s
 AND a.username > %(after)s ORDER BY a.username LIMIT %(limit)s"""
_WRITTEN = f"WITH a AS ({{change}} RETURNING *) SELECT {_COLUMNS} FROM a {_OWNERS}"

_FIND_BATCH = 500  # names in one query
_FIND_FLIGHTS = 2  # queries under way at a time
_FIND_PACE_S = 0.003  # between queries, from _FIND_BUSY_PER_S on: batches fill
_FIND_BUSY_PER_S = 700.0  # names that meet others; below, nobody waits for company
_RATE_SHARE = 0.05  # of the newest query in the mean of names per second


def account_of(row: Sequence[Any]) -> Account:
    """The account in the first columns of a row of ``_COLUMNS``."""
    account_id, parent_id = row[0], row[4]
    owners: tuple[int, ...] = ()
    limits: tuple[Limits, ...] = ()
    if row[15] is not None:
        limits = (limits_of(account_id, row[15]),)
    if parent_id is not None:
        above: list[tuple[int, Any]] = [(parent_id, row[16])]
        if row[17] is not None:
            above.append((row[17], row[18]))
        above += row[19] or ()
        owners = tuple([owner_id for owner_id, _ in above])
        limits += tuple([limits_of(owner_id, limited) for owner_id, limited in above if limited is not None])
    return Account(
        id=account_id,
        username=row[1],
        type=AccountType(row[2]),
        enabled=row[3],
        parent_id=parent_id,
        auth_type=AuthType(row[5]),
        can_dial=row[6],
        display_name=row[7],
        caller_number=row[8],
        max_contacts=row[9],
        trusted_identity=row[10],
        fix_nat=row[11],
        version=row[12],
        calling_circle=row[13],
        tech_prefix=row[14],
        company_id=row[20],
        owners=owners,
        limits=limits,
    )


@implementer(IAccountStore, IDirectory)
class PostgresAccountStore:
    """
    See :class:`~mizu.interfaces.IAccountStore` and :class:`~mizu.interfaces.IDirectory`.

    :param pool: for look-ups of call control.
    :param reports: for lists and changes, so that they cannot starve the look-ups.
    :param waiting_max: callers waiting for a look-up to be sent; one more is refused.
    """

    def __init__(self, pool: Pool, reports: Pool, waiting_max: int, reactor: Any) -> None:
        self._pool = pool
        self._reports = reports
        self._waiting_max = waiting_max
        self._reactor = reactor
        self._wanted: dict[str, list[Deferred[Found | None]]] = {}
        self._wanted_count = 0
        self._flights = 0
        self._asked_at_s = 0.0
        self._met_per_s = 0.0  # names that met another one waiting or under way, mean over the last queries
        self._timer: IDelayedCall | None = None

    def find(self, username: str) -> Deferred[Found | None]:
        """
        See the interface. A look-up goes at once. What comes while as many queries are under way as may be
        goes in the next one together, and while many come, queries leave a pause in which they gather.
        """
        if not storable(username) or len(username) > USERNAME_MAX:
            return succeed(None)
        done: Deferred[Found | None] = Deferred()
        if self._wanted_count >= self._waiting_max:
            done.errback(StoreBusy("too many account look-ups wait for the database"))
            return done
        self._wanted.setdefault(username, []).append(done)
        self._wanted_count += 1
        if self._timer is None:
            self._find_soon()
        return done  # cancelled: the answer is dropped, the query goes on

    def _find_soon(self) -> None:
        if not self._wanted or self._flights >= _FIND_FLIGHTS:
            return
        pause_s = self._asked_at_s + _FIND_PACE_S - self._reactor.seconds()
        if pause_s > 0 and self._met_per_s >= _FIND_BUSY_PER_S and len(self._wanted) < _FIND_BATCH:
            self._timer = self._reactor.callLater(pause_s, self._pause_over)
        else:
            self._find_wanted()

    def stop(self) -> None:
        """No more pauses: who waits is answered now, as the connections see fit."""
        if self._timer is not None:
            self._timer.cancel()
            self._pause_over()

    def _pause_over(self) -> None:
        self._timer = None
        self._find_wanted()

    def _count(self, names: int) -> None:
        """One caller who asks again and again, each time after an answer, is not many."""
        met = names if self._flights else names - 1
        now_s = self._reactor.seconds()
        rate = min(met / max(now_s - self._asked_at_s, 0.0005), 10 * _FIND_BUSY_PER_S)
        self._met_per_s += (rate - self._met_per_s) * _RATE_SHARE
        self._asked_at_s = now_s

    def _find_wanted(self) -> None:
        names = list(islice(self._wanted, _FIND_BATCH))
        batch = {name: self._wanted.pop(name) for name in names}
        self._wanted_count -= sum(map(len, batch.values()))
        self._count(len(names))
        self._flights += 1

        def deliver(rows: list[tuple[Any, ...]]) -> None:
            for row in rows:
                found = (account_of(row), _ha1_of(row))
                for waiter in batch[row[1]]:
                    waiter.callback(found if row[0] else None)

        def refuse(failure: Any) -> None:
            for waiters in batch.values():
                for waiter in waiters:
                    if not waiter.called:
                        waiter.errback(failure)

        def landed(result: Any) -> Any:
            self._flights -= 1
            if self._timer is None:
                self._find_soon()
            return result

        query = self._pool.query(_FIND, (texts(names),))
        query.addBoth(landed).addCallback(deliver).addErrback(refuse)

    def called(self, number: str, company_id: int | None) -> Deferred[Account | None]:
        """See the interface."""
        if not number or not storable(number) or len(number) > USERNAME_MAX:
            return succeed(None)
        query = self._pool.query(_CALLED, (number, number.removeprefix("+"), company_id))
        return query.addCallback(lambda rows: account_of(rows[0]) if rows else None)

    def list(self, prefix: str, limit: int, after: str) -> Deferred[Sequence[Account]]:
        """See the interface."""
        if not storable(prefix) or not storable(after):
            return succeed([])
        for special in "\\%_":
            prefix = prefix.replace(special, "\\" + special)
        query = self._reports.query(_LIST, {"pattern": prefix + "%", "after": after, "limit": limit})
        return query.addCallback(lambda rows: [account_of(row) for row in rows])

    def add(self, username: str, ha1: Mapping[str, str], fields: Mapping[str, object]) -> Deferred[Account]:
        """See the interface. :raise BadRequest: a field is unknown or wrong."""
        return ensureDeferred(self._add(username, ha1, fields))

    async def _add(self, username: str, ha1: Mapping[str, str], fields: Mapping[str, object]) -> Account:
        columns = {"username": check_username(username), **columns_of(ha1, fields)}
        values = ", ".join(f"%({column})s" for column in columns)
        sql = _WRITTEN.format(change=f"INSERT INTO account ({', '.join(columns)}) VALUES ({values})")
        try:
            rows = await self._reports.query(sql, columns)
        except UniqueViolation:
            raise Conflict(f"there is an account {username!r} already") from None
        except IntegrityError as refused:
            raise refusal(refused) from None
        return account_of(rows[0])

    def change(
        self, username: str, ha1: Mapping[str, str] | None, fields: Mapping[str, object]
    ) -> Deferred[Account]:
        """See the interface. :raise BadRequest: a field is unknown or wrong."""
        return ensureDeferred(self._change(username, ha1, fields))

    async def _change(
        self, username: str, ha1: Mapping[str, str] | None, fields: Mapping[str, object]
    ) -> Account:
        columns = columns_of(ha1, fields)
        if not storable(username):
            raise NotFound(f"there is no account {username!r}")
        if ha1 is not None:  # a new password makes the digests of the old one worthless
            columns = {**dict.fromkeys(HA1_COLUMNS.values()), **columns}
        changes = "".join(f"{column} = %({column})s, " for column in columns)
        sql = _WRITTEN.format(
            change=f"UPDATE account SET {changes} version = version + 1, changed_at = now() "
            "WHERE username = %(username)s"
        )
        try:
            rows = await self._reports.query(sql, {**columns, "username": username})
        except IntegrityError as refused:
            raise refusal(refused) from None
        if not rows:
            raise NotFound(f"there is no account {username!r}")
        return account_of(rows[0])

    def delete(self, username: str) -> Deferred[None]:
        """See the interface."""
        return ensureDeferred(self._delete(username))

    async def _delete(self, username: str) -> None:
        if not storable(username):
            raise NotFound(f"there is no account {username!r}")
        try:
            rows = await self._reports.query(
                "DELETE FROM account WHERE username = %s RETURNING id", (username,)
            )
        except IntegrityError:
            raise Conflict(f"account {username!r} still owns other accounts") from None
        if not rows:
            raise NotFound(f"there is no account {username!r}")


def _ha1_of(row: Sequence[Any]) -> Mapping[str, str]:
    return {name: value for name, value in (("MD5", row[-2]), ("SHA-256", row[-1])) if value}


#: What a constraint of the table says, in words.
_REFUSALS: Mapping[str, MizuError] = {
    "account_tree": Conflict("parent_id: an account cannot be below itself"),
    "account_payers": Conflict(
        "accounts cannot pay for each other in a circle; an empty billing_account_id is its own credit"
    ),
    "account_depth": Conflict("parent_id: more levels of owners than the option maxresellers allows"),
    "account_parent_id_fkey": NotFound("there is no account with that parent_id"),
    "account_company_id_fkey": Conflict("it is still the company of other accounts"),
    "account_billing_account_id_fkey": Conflict("it still pays for other accounts"),
    "account_group_owner_id_fkey": Conflict("it still owns groups"),
    "account_username_key": Conflict("there is an account of that username already"),
    "account_username": BadRequest("no account may have that username"),
    "account_sub_enduser": BadRequest("type: a sub_enduser needs an owner (parent_id) who is no gateway"),
    "account_type_owner": Conflict("type: it owns sub-endusers"),
    "account_type_group": Conflict("type: it is in a group of another kind; 'group leave' first"),
    "account_type_server": Conflict("type: we have accounts at this SIP server; 'sipaccounts del' first"),
    "sip_account_username_check": BadRequest("username: want 1 to 255 characters"),
    "sealing_key_known": Conflict(
        "this node's secret.key has another key than the stored secrets; copy it from another node"
    ),
    "sip_account_server": BadRequest("it is not a sip_server"),
    "account_group_kind": BadRequest("it is not of the kind of the group"),
    "account_phone_number": Conflict("another account has that phone_number"),
    "account_name_number": Conflict(
        "that username is the number of another account, and no account may be called so but that one"
    ),
    "account_number_name": Conflict("phone_number: another account has that number as its username"),
    "phone_number_names": Conflict("two accounts are called so, with and without a plus sign"),
    "account_short_number": Conflict("another account of the company has that short_number"),
    "account_short_number_company": BadRequest("a short_number needs a company_id"),
}


def refusal(error: Exception) -> MizuError:
    """What a constraint of the table says, in words."""
    constraint = getattr(getattr(error, "diag", None), "constraint_name", "") or ""
    known = _REFUSALS.get(constraint)
    if known is not None:
        return type(known)(str(known))
    return BadRequest(f"the database refuses the values ({constraint})")
