"""The operations of a graph's store, checked before any is executed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from langgraph.store.base import (
    GetOp,
    ListNamespacesOp,
    Op,
    PutOp,
    SearchOp,
    validate_op_namespace,
)

from antiphon.data.records import Namespace
from antiphon.orchestrator.errors import StoreRefused
from antiphon.orchestrator.store.search import check_filter
from antiphon.orchestrator.store.values import as_json
from antiphon.orchestrator.values import storable

VALUE_BYTES = 4 * 1024 * 1024
"""The largest size of one value, in bytes of JSON."""
BATCH_BYTES = 4 * VALUE_BYTES
"""The largest size of all values that one batch stores, in bytes of JSON."""
BATCH_OPERATIONS = 1000
NAME_LENGTH = 1024
"""Characters of a key, and of a namespace with all its labels."""
TTL_MINUTES = 60 * 24 * 365 * 100
PAGE_END = 2**31

Place = tuple[Namespace, str]
Texts = Callable[[dict[str, Any], Sequence[str] | None], list[str]]
"""Returns the texts by which a value is found: of the given fields, or of the configured ones."""


class GetItem(NamedTuple):
    """Read an item. With `refresh`, its time to live starts again."""

    place: Place
    refresh: bool


class PutItem(NamedTuple):
    """Store a value, or delete it if None. `ttl` is in ms; `texts` are to be embedded."""

    place: Place
    value: bytes | None
    ttl: int | None = None
    texts: Sequence[str] = ()


class FindItems(NamedTuple):
    """Find items in a namespace and in those below it."""

    prefix: Namespace
    wanted: dict[str, Any]
    query: str | None
    offset: int
    limit: int
    refresh: bool


class ListNamespaces(NamedTuple):
    """List namespaces that match all `paths`, each a path and whether it is a suffix."""

    paths: Sequence[tuple[Sequence[str], bool]]
    depth: int | None
    offset: int
    limit: int


Operation = GetItem | PutItem | FindItems | ListNamespaces


def checked(ops: Sequence[Op], texts: Texts) -> list[Operation]:
    """Return checked operations.

    Raises `StoreRefused`, and LangGraph's `InvalidNamespaceError`.
    """
    if len(ops) > BATCH_OPERATIONS:
        raise StoreRefused(f"A batch may have {BATCH_OPERATIONS} operations, not {len(ops)}.")
    operations = [_checked(op, texts) for op in ops]
    size = sum(len(op.value or b"") for op in operations if isinstance(op, PutItem))
    if size > BATCH_BYTES:
        raise StoreRefused(f"A batch may store {BATCH_BYTES} bytes, not {size}.")
    return operations


def to_embed(operations: Iterable[Operation]) -> tuple[list[str], list[str]]:
    """Return the texts of values, and the queries, without duplicates."""
    documents: dict[str, None] = {}
    queries: dict[str, None] = {}
    for operation in operations:
        if isinstance(operation, PutItem):
            documents.update(dict.fromkeys(operation.texts))
        elif isinstance(operation, FindItems) and operation.query:
            queries[operation.query] = None
    return list(documents), list(queries)


def method_of(ops: Sequence[Op]) -> str:
    """Return the name of the store's method that makes these operations."""
    match ops:
        case [GetOp()]:
            return "get"
        case [PutOp(value=value)]:
            return "delete" if value is None else "put"
        case [SearchOp()]:
            return "search"
        case [ListNamespacesOp()]:
            return "list_namespaces"
    return "batch"


def _checked(op: Op, texts: Texts) -> Operation:
    validate_op_namespace(op)
    match op:
        case GetOp():
            return GetItem(_place(op), op.refresh_ttl)
        case PutOp():
            return _put(op, texts)
        case SearchOp():
            return _find(op)
        case ListNamespacesOp():
            return _list_namespaces(op)
    raise StoreRefused(f"A store knows no {type(op).__name__}.")


def _put(op: PutOp, texts: Texts) -> PutItem:
    place = _place(op)
    if op.value is None:
        return PutItem(place, None)
    if not isinstance(op.value, Mapping):
        raise StoreRefused(f"A stored value is a dictionary, not a {type(op.value).__name__}.")
    value = as_json(op.value, "value")
    encoded = msgspec.json.encode(value)
    if len(encoded) > VALUE_BYTES:
        size = len(encoded)
        raise StoreRefused(f"A stored value may have {VALUE_BYTES} bytes as JSON, not {size}.")
    to_find = [] if op.index is False else texts(value, op.index)
    return PutItem(place, encoded, _milliseconds(op.ttl), to_find)


def _find(op: SearchOp) -> FindItems:
    wanted = as_json(op.filter or {}, "filter")
    for condition in wanted.values():
        check_filter(condition)
    if not isinstance(op.query, str | None):
        raise StoreRefused(f"A query is a text, not a {type(op.query).__name__}.")
    _check_page(op)
    prefix = tuple(op.namespace_prefix)
    return FindItems(prefix, wanted, op.query, op.offset, op.limit, op.refresh_ttl)


def _list_namespaces(op: ListNamespacesOp) -> ListNamespaces:
    _check_page(op)
    paths = []
    for match_type, path in op.match_conditions or ():
        if match_type not in ("prefix", "suffix"):
            raise StoreRefused("A namespace is matched by a prefix or a suffix.")
        paths.append((path, match_type == "suffix"))
    return ListNamespaces(paths, op.max_depth, op.offset, op.limit)


def _place(op: GetOp | PutOp) -> Place:
    namespace, key = tuple(op.namespace), op.key
    if not isinstance(key, str):
        raise StoreRefused(f"A key is a text, not a {type(key).__name__}.")
    for what, name in (("key", key), ("namespace", ".".join(namespace))):
        if len(name) > NAME_LENGTH:
            raise StoreRefused(f"A {what} may have {NAME_LENGTH} characters, not {len(name)}.")
        if storable(name) != name:
            raise StoreRefused(f"The {what} is not valid Unicode.")
    return namespace, key


def _check_page(op: SearchOp | ListNamespacesOp) -> None:
    for number in (op.limit, op.offset):
        if not isinstance(number, int) or not 0 <= number < PAGE_END:
            raise StoreRefused("The limit and the offset are numbers from 0.")


def _milliseconds(minutes: float | None) -> int | None:
    if minutes is None:
        return None
    if not isinstance(minutes, int | float) or not 0 <= minutes <= TTL_MINUTES:
        raise StoreRefused("The time to live is a number of minutes, at most a hundred years.")
    return round(minutes * 60_000)
