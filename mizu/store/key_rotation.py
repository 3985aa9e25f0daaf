"""New keys for stored secrets (``mizu.accounts.sealing``), and whether this node has the right ones."""

# ruff: noqa: S608 - what is put into SQL text here are names of our own columns; values are parameters

from collections.abc import Mapping
from typing import Any, NamedTuple

from twisted.logger import Logger
from txpostgres.txpostgres import Cursor

from mizu.accounts.sealing import KeyFile, SealBroken
from mizu.errors import Conflict, MizuError
from mizu.store.arrays import texts
from mizu.store.postgres import Link, Pool

BATCH = 500  #: secrets encrypted anew by one transaction
NAMED_MAX = 10  #: of the secrets that cannot be opened, how many a message names


class _Sealed(NamedTuple):
    """Where secrets are."""

    table: str
    column: str
    name: str  #: SQL for what people call one


_ALL = (
    _Sealed("account", "pin_sealed", "'the PIN of ' || s.username"),
    _Sealed(
        "sip_account",
        "password_sealed",
        "'the password of account ' || s.id || ' at ' || "
        "(SELECT username FROM account WHERE id = s.sip_server_id)",
    ),
)
_OTHERS = """SELECT s.id, s.{column}, {name} FROM {table} s WHERE s.{column} <> ''
 AND NOT s.{column} LIKE %(current)s AND s.id > %(after)s ORDER BY s.id LIMIT %(limit)s
 FOR NO KEY UPDATE OF s"""
_UPDATE = """UPDATE {table} s SET {column} = n.sealed
 FROM unnest(%s::bigint[], %s::text[]) n (id, sealed) WHERE s.id = n.id"""
_WAITING = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM {one.table} WHERE {one.column} <> '' AND NOT {one.column} LIKE %(current)s)"
    for one in _ALL
)
_ANY = "SELECT " + " OR ".join(f"EXISTS (SELECT FROM {one.table} WHERE {one.column} <> '')" for one in _ALL)
_IDS = "SELECT id FROM sealing_key"
_KNOWN = "INSERT INTO sealing_key (id) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"
_FORGET = "DELETE FROM sealing_key WHERE id <> ALL (%s::text[])"

_log = Logger()


class _Resealed(NamedTuple):
    """What became of a batch."""

    last: int  #: id of the last secret looked at; 0: there was none
    done: int
    broken: tuple[str, ...]


class KeyRotation:
    """The key file of this node, and the secrets of all nodes."""

    def __init__(self, reports: Pool, keys: KeyFile) -> None:
        self._reports = reports
        self._keys = keys

    async def begin(self, link: Link) -> None:
        """
        When the server starts: make a key if there is none and nothing needs one. What is wrong is logged:
        calls go on without.
        """
        if not self._keys.there:
            if (await link.query(_ANY))[0][0]:
                _log.critical(
                    "{file} is missing, and there are secrets that only its keys open: put a copy back, "
                    "or copy it from another node",
                    file=self._keys.path,
                )
                return
            await link.operate("DELETE FROM sealing_key")
            self._keys.make()
        try:
            keys = self._keys()
        except MizuError as wrong:
            _log.critical("{problem}", problem=str(wrong))
            return
        known = {row[0] for row in await link.query(_IDS)}
        if known and keys.current not in known:
            _log.critical(
                "{file} has another key than the other nodes: copy it from one of them; until then no secret "
                "can be stored from here",
                file=self._keys.path,
            )

    async def rotate(self, step: str) -> Mapping[str, Any]:
        """
        ``add`` a key that opens only, ``reseal`` everything with the newest key, ``drop`` the old ones; or
        ``all`` three, for one node alone. What is left when a step is interrupted can be opened still, and
        each step can be repeated: a rotation that was begun is finished first.

        :raise Conflict: a secret cannot be opened, each named; ``drop`` while something is sealed with an old
            key; this node has another key than the others.
        """
        sealed = 0
        if step == "add" or (step == "all" and not self._keys.begun):
            await self._add()
        if step in ("reseal", "all"):
            await self._refuse_strangers()
            await self._reports.operate(_KNOWN, (texts(self._keys().ids),))
            self._keys.promote()
            sealed = await self._reseal()
        if step in ("drop", "all"):
            await self._refuse_strangers()
            await self._reports.transact(self._forget)
            self._keys.drop_old()
        keys = self._keys()
        return {"step": step, "resealed": sealed, "keys": list(keys.ids), "current": keys.current}

    async def _refuse_strangers(self) -> None:
        """A node whose key the others do not have would make secrets that they cannot open."""
        known = {row[0] for row in await self._reports.query(_IDS)}
        if known and self._keys().current not in known:
            raise Conflict(
                f"{self._keys.path} has another key than the other nodes; copy it from one of them"
            )

    async def _add(self) -> None:
        await self._refuse_strangers()
        await self._reports.operate(_KNOWN, (texts(self._keys.add().ids),))

    async def _reseal(self) -> int:
        done, broken = 0, list[str]()
        for one in _ALL:
            after = 0
            while True:
                some: _Resealed = await self._reports.transact(self._reseal_some, one, after)
                if not some.last:
                    break
                after, done = some.last, done + some.done
                broken += some.broken
        if broken:
            names = ", ".join(broken[:NAMED_MAX]) + (", ..." if len(broken) > NAMED_MAX else "")
            what = "1 secret" if len(broken) == 1 else f"{len(broken)} secrets"
            raise Conflict(
                f"{what} cannot be opened with the keys in {self._keys.path}: {names}\n{done} others are "
                "encrypted anew. Put back a copy of the file that has the missing key, or give these secrets "
                "anew, then 'rotate-keys reseal' again"
            )
        return done

    async def _reseal_some(self, cursor: Cursor, one: _Sealed, after: int) -> _Resealed:
        keys = self._keys()
        params = {"current": keys.current + ":%", "after": after, "limit": BATCH}
        await cursor.execute(_OTHERS.format(**one._asdict()), params)
        rows = cursor.fetchall()
        if not rows:
            return _Resealed(0, 0, ())
        ids, sealed, broken = [], [], []
        for number, text, name in rows:
            try:
                sealed.append(keys.seal(keys.open(text)))
            except SealBroken:
                broken.append(name)
            else:
                ids.append(number)
        await cursor.execute(_UPDATE.format(**one._asdict()), (ids, texts(sealed)))
        return _Resealed(rows[-1][0], len(ids), tuple(broken))

    async def _forget(self, cursor: Cursor) -> None:
        """No secret is sealed with an old key any more, and none will be."""
        current = self._keys().current
        await cursor.execute(_FORGET, (texts([current]),))  # waits for who seals with one just now
        await cursor.execute(_WAITING, {"current": current + ":%"})
        [(waiting,)] = cursor.fetchall()
        if waiting:
            raise Conflict(f"{waiting} secrets are sealed with other keys; 'reseal' first")
