"""What a writing function gets: one savepoint of the writer's open transaction.

Statements are those that SQLite and PostgreSQL share: named parameters (`:name`), `ON CONFLICT`,
`RETURNING`; no `rowid`, no functions that only one of them has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from antiphon.data.base import StatementResult, WritingConnection
from antiphon.data.errors import NotFound
from antiphon.data.records import Row, RunRecord, Thread

R = TypeVar("R", bound=msgspec.Struct)


class Transaction:
    """One savepoint. `rows` collects the events that become visible with the commit."""

    def __init__(self, connection: WritingConnection) -> None:
        self.connection = connection
        self.rows: list[Row] = []

    def execute(self, sql: str, **values: Any) -> StatementResult:
        """Run a statement with values for its `:names`."""
        return self.connection.execute(sql, values)

    def execute_many(self, sql: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each mapping of values."""
        self.connection.executemany(sql, values)

    def one(self, sql: str, **values: Any) -> tuple[Any, ...] | None:
        """Return the first row of a statement, or None."""
        row: tuple[Any, ...] | None = self.connection.execute(sql, values).fetchone()
        return row

    def insert(self, table: str, record: msgspec.Struct, **others: Any) -> None:
        """Store a record as a row, whose columns have the names of its fields."""
        values = msgspec.structs.asdict(record) | others
        self.connection.execute(insertion(table, tuple(values)), values)

    def find(self, record: type[R], table: str, key: str, value: str) -> R | None:
        """Return the row of a table with this value in column `key`, as a record."""
        fields = record.__struct_fields__
        sql = f"SELECT {', '.join(fields)} FROM {table} WHERE {key} = :value"  # noqa: S608 - names of ours
        row = self.one(sql, value=value)
        return record(**dict(zip(fields, row, strict=True))) if row else None

    def run(self, run_id: str) -> RunRecord | None:
        """Return a run by id."""
        return self.find(RunRecord, "runs", "id", run_id)

    def existing_run(self, run_id: str) -> RunRecord:
        """Return a run that must be there. Raises `NotFound`."""
        run = self.run(run_id)
        if run is None:
            raise NotFound(run_id)
        return run

    def thread(self, thread_id: str) -> Thread | None:
        """Return a thread by id."""
        return self.find(Thread, "threads", "id", thread_id)


def insertion(table: str, columns: Sequence[str]) -> str:
    """Return the statement that stores a row, with each column's name for its value."""
    marks = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of ours
