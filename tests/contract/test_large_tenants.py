"""An owner of half of all accounts: pages and moves cost what they show, not what there is."""

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from mizu.model import AccountType
from mizu.store.account_records import _TREE, _USERNAMES

CHILDREN = 4000


class Tenants:
    """Two resellers, one of whom has nearly everything below it."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor
        reseller = int(AccountType.RESELLER)
        self.run(
            f"INSERT INTO account (username, type) VALUES ('owner1', {reseller}), ('owner2', {reseller})"
        )
        self.large, self.small = (row[0] for row in self.run("SELECT id FROM account ORDER BY id"))
        for name, owner, count in (("c", self.large, CHILDREN), ("l", self.small, 40), ("e", None, CHILDREN)):
            sql = "INSERT INTO account (username, parent_id) SELECT %s || n, %s FROM generate_series(1, %s) n"
            self.run(sql, (name, owner, count))
        self.run("ANALYZE")

    def run(self, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        self.cursor.execute(sql, params)
        return self.cursor.fetchall() if self.cursor.description else []

    def read(self) -> int:
        """Rows and index entries of accounts that were read so far."""
        self.run("SELECT pg_stat_force_next_flush()")
        [(count,)] = self.run(
            """SELECT seq_tup_read + (
                   SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid
               ) FROM pg_stat_user_tables t WHERE relname = 'account'"""
        )
        return int(count)


@pytest.fixture
def tenants(database_url: str) -> Iterator[Tenants]:
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield Tenants(cursor)
    finally:
        connection.close()


@pytest.mark.parametrize("prefix", ["c%", "e%", "l%"])
def test_what_an_operator_sees_is_looked_up_in_a_hash_table(tenants: Tenants, prefix: str) -> None:
    """Not compared with each of its accounts for each that there is."""
    params = {"pattern": prefix, "after": "", "scope": tenants.large, "limit": 100}
    plan = "\n".join(row[0] for row in tenants.run("EXPLAIN " + _USERNAMES, params))
    assert "hashed SubPlan" in plan
    before = tenants.read()
    assert len(tenants.run(_USERNAMES, params)) == (100 if prefix == "c%" else 0)
    assert tenants.read() - before < 6 * CHILDREN


def test_a_page_of_the_tree_counts_children_by_index(tenants: Tenants) -> None:
    """Of a hundred accounts without any, and of the owner of all."""
    before = tenants.read()
    rows = tenants.run(_TREE, {"root": tenants.large, "levels": 5, "after": [], "limit": 100})
    assert [row[-1] for row in rows[:2]] == [CHILDREN, 0]
    assert tenants.read() - before < 5 * CHILDREN


def test_a_move_reads_what_is_moved(tenants: Tenants) -> None:
    """However much is below the owners."""
    before = tenants.read()
    for number in range(1, 21):
        sql = "UPDATE account SET parent_id = %s WHERE username = %s"
        tenants.run(sql, (tenants.large, f"l{number}"))
    assert tenants.read() - before < CHILDREN
