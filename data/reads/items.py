"""What graphs keep across threads and users: items by place, or all inside a namespace.

Items may be many and large, so these are for `Database.scan`. Times in ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, case, or_, select, tuple_

from antiphon.data.records import Item, Namespace, namespace_labels, namespace_text
from antiphon.data.schema import store_items

Place = tuple[Namespace, str]
"""`(namespace, key)`."""
ScannedItem = tuple[Item, bytes]
"""An item and its vectors, which are empty if it has none."""
T = TypeVar("T")

ITEM_COLUMNS = [store_items.c[field] for field in Item.__struct_fields__]


def items_at(connection: Connection, places: Sequence[Place], now: int) -> list[Item]:
    """Return the items at these places, in any order; a place without an item gives none."""
    wanted = [(namespace_text(namespace), key) for namespace, key in places]
    at_places = tuple_(store_items.c.namespace, store_items.c.key).in_(wanted)
    rows = connection.execute(select(*ITEM_COLUMNS).where(*_not_expired(now), at_places))
    return [_item(row) for row in rows]


def scan_items(
    connection: Connection,
    prefix: Namespace,
    now: int,
    embedder: str | None,
    fold: Callable[[Iterator[ScannedItem]], T],
) -> T:
    """Return what `fold` makes of the items in a namespace and inside it, the last written first.

    An item's vectors are given if this embedder made them. `fold` sees one state of the database,
    and may stop early; what it raises is raised.
    """
    vectors = case((store_items.c.embedder == embedder, store_items.c.vectors))
    query = select(*ITEM_COLUMNS, vectors).where(*_not_expired(now), *_inside(prefix))
    rows = connection.execute(query.order_by(store_items.c.revision.desc()))
    return fold((_item(row), row[-1] or b"") for row in rows)


def item_namespaces(connection: Connection, prefix: Namespace, now: int) -> list[Namespace]:
    """Return namespaces that hold an item, in a namespace and inside it, in any order."""
    query = select(store_items.c.namespace).where(*_not_expired(now), *_inside(prefix))
    return [namespace_labels(text) for text in connection.scalars(query.distinct())]


def _item(row: Sequence[Any]) -> Item:
    """Return an item, from a row that begins with `ITEM_COLUMNS`."""
    namespace, *others = row[: len(ITEM_COLUMNS)]
    values = (namespace_labels(namespace), *others)
    return Item(**dict(zip(Item.__struct_fields__, values, strict=True)))


def _not_expired(now: int) -> list[ColumnElement[bool]]:
    ends = store_items.c.expires_at
    return [or_(ends.is_(None), ends > now)]


def _inside(prefix: Namespace) -> list[ColumnElement[bool]]:
    """Return the condition of an item in a namespace or inside it; none for the empty namespace.

    The subquery is one range of the index, whose revisions SQLite then walks from the newest: no
    value is read for sorting, and none that a fold does not come to. `/` is the character after
    the period.
    """
    if not prefix:
        return []
    name, column = namespace_text(prefix), store_items.c.namespace
    exactly_or_below = or_(column == name, column >= f"{name}.")
    in_range = and_(column >= name, column < f"{name}/", exactly_or_below)
    return [store_items.c.revision.in_(select(store_items.c.revision).where(in_range))]
