"""Rows as records: what the reading functions share."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Row, Select

R = TypeVar("R", bound=msgspec.Struct)


def all_records(connection: Connection, record: type[R], query: Select[Any]) -> list[R]:
    """Return the rows of a query as records, whose fields have the names of columns."""
    return [to_record(record, row) for row in connection.execute(query)]


def first_record(connection: Connection, record: type[R], query: Select[Any]) -> R | None:
    """Return the first row of a query as a record, or None if there is none."""
    row = connection.execute(query).first()
    return None if row is None else to_record(record, row)


def to_record(record: type[R], row: Row[Any]) -> R:
    """Return a row as a record; the row may have more columns than the record has fields."""
    values = row._mapping
    return record(**{field: values[field] for field in record.__struct_fields__})
