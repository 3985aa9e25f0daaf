"""Brings the database to this version's schema: numbered SQL files, forward only, one node at a time."""

# ruff: noqa: S608 - only our own constants are put into SQL text

import re
from importlib.resources import files

from twisted.logger import Logger

from mizu.errors import ConfigError
from mizu.store.postgres import Link

_log = Logger()

POSTGRES_MIN = 150000  # as server_version_num has it
#: Two numbers of an advisory lock: the second is 1 for migrations, 2 for the ownership tree
#: and payers (0021_new_accounts.sql), 3 for phone numbers (0010_number_owners.sql,
#: 0015_number_names.sql).
_LOCK = "pg_advisory_lock(x'6d697a75'::int, 1)"
#: The record of what has been run.
TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
COMMENT ON TABLE schema_migration IS 'Which files of mizu/store/schema have been run';
COMMENT ON COLUMN schema_migration.version IS 'Number of the file';
COMMENT ON COLUMN schema_migration.name IS 'Name of the file';
COMMENT ON COLUMN schema_migration.applied_at IS 'When it was run'"""


def migrations() -> list[tuple[int, str, str]]:
    """Number, name and text of each file of ``mizu/store/schema``, in order."""
    found = []
    for file in files("mizu.store").joinpath("schema").iterdir():
        if match := re.fullmatch(r"(\d{4})_\w+\.sql", file.name):
            found.append((int(match[1]), file.name, file.read_text(encoding="utf-8")))
    return sorted(found)


async def migrate(link: Link) -> int:
    """
    Run the files that the database lacks, each in a transaction of its own.

    Nodes that start at once wait for each other. The link must have no statement timeout.

    :return: the version the database has now.
    :raise ConfigError: the database is newer than this program, or PostgreSQL is too old.
    :raise StoreBusy: the database went away; try again.
    """
    server = int((await link.query("SELECT current_setting('server_version_num')"))[0][0])
    if server < POSTGRES_MIN:
        raise ConfigError([f"database.url: PostgreSQL {server // 10000} is too old, want 15 or newer"])
    await link.query(f"SELECT {_LOCK}")  # held until the connection closes
    if not (await link.query("SELECT to_regclass('schema_migration')"))[0][0]:
        await link.operate(TABLE)
    current = (await link.query("SELECT coalesce(max(version), 0) FROM schema_migration"))[0][0]
    known = migrations()
    if current > known[-1][0]:
        problem = f"database.url: the database has schema version {current}, this mizu knows up to "
        problem += f"{known[-1][0]}; start the newer mizu that changed it, or restore a backup"
        raise ConfigError([problem])
    for version, name, sql in known:
        if version > current:
            _log.info("changing the database to schema version {version}: {name}", version=version, name=name)
            note = f"INSERT INTO schema_migration (version, name) VALUES ({version}, '{name}')"
            await link.operate(f"{sql};\n{note}")
            for said in link.notices():
                if said.startswith("WARNING"):
                    _log.warn("{name}: {said}", name=name, said=said)
    return known[-1][0]
