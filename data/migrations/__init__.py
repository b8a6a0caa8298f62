"""How a database of an earlier version becomes one of this version: numbered steps, forward only.

A step is a file `m<schema it makes>_<what>.py` with `upgrade(connection)`, and a row in
`MIGRATIONS`. It never changes after its release, and uses no table of `schema.py`, which changes.
A new database is created from `schema.py` as it is now; a test ensures that both ways lead to the
same tables.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine

from antiphon.data import schema
from antiphon.data.errors import StorageError
from antiphon.data.migrations import m005_tables, m006_positions

MIGRATIONS: dict[int, Callable[[Connection], None]] = {
    5: m005_tables.upgrade,
    6: m006_positions.upgrade,
}
"""The schema that a step makes -> the step. A database of schema 4 takes those to 5 and to 6."""


def migrate(
    engine: Engine,
    read_version: Callable[[Connection], int],
    write_version: Callable[[Connection, int], None],
) -> None:
    """Bring a database to `schema.VERSION`, one transaction per step; an empty one has version 0.

    The engine's transactions must exclude each other: of two servers that start at once, one waits
    and then finds nothing to do. Raises `StorageError` for a database of a newer version.
    """
    version = -1
    while version != schema.VERSION:
        with engine.begin() as connection:
            version = read_version(connection)
            if version > schema.VERSION:
                raise StorageError(
                    f"{engine.url.database} was written by a newer version"
                    f" (schema {version}, known {schema.VERSION})"
                )
            if version < schema.VERSION:
                version = _step(connection, version)
                write_version(connection, version)


def _step(connection: Connection, version: int) -> int:
    """Create the tables of an empty database, or take the next step. Return the new version."""
    if version == 0:
        schema.metadata.create_all(connection)
        return schema.VERSION
    following = min(step for step in MIGRATIONS if step > version)
    MIGRATIONS[following](connection)
    return following
