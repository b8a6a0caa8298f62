"""What graphs keep across threads and users: values by namespace and key. Times in ms."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.data.records import ItemWrite, Namespace, namespace_text
from antiphon.data.transactions.transaction import Transaction


def put_items(tx: Transaction, writes: Sequence[ItemWrite], at: int) -> None:
    """Store items, each as the newest of all, or delete them; all or none.

    An item that replaces another keeps its time of creation.
    """
    for write in writes:
        created_at = _take_out(tx, write, at)
        if write.value is None:
            continue
        tx.execute(
            "INSERT INTO store_items"
            " (namespace, key, created_at, updated_at, ttl, expires_at, embedder, value, vectors)"
            " VALUES (:namespace, :key, :created_at, :at, :ttl, :expires_at, :embedder,"
            " :value, :vectors)",
            namespace=namespace_text(write.namespace),
            key=write.key,
            created_at=created_at,
            at=at,
            ttl=write.ttl,
            expires_at=None if write.ttl is None else at + write.ttl,
            embedder=write.embedder,
            value=write.value,
            vectors=write.vectors,
        )


def _take_out(tx: Transaction, write: ItemWrite, at: int) -> int:
    """Delete the item at a place. Return when it was created: `at` if there was none."""
    former = tx.one(
        "DELETE FROM store_items WHERE namespace = :namespace AND key = :key"
        " RETURNING created_at, expires_at",
        namespace=namespace_text(write.namespace),
        key=write.key,
    )
    if former is None:
        return at
    created_at, expires_at = former
    return int(created_at) if expires_at is None or expires_at > at else at


def refresh_items(tx: Transaction, places: Sequence[tuple[Namespace, str]], now: int) -> None:
    """Let the time of items begin again, if they have one and it is not over."""
    tx.execute_many(
        "UPDATE store_items SET expires_at = :now + ttl"
        " WHERE namespace = :namespace AND key = :key AND expires_at > :now",
        [
            {"now": now, "namespace": namespace_text(namespace), "key": key}
            for namespace, key in places
        ],
    )


def sweep_items(tx: Transaction, now: int, limit: int) -> int:
    """Delete expired items, at most `limit`. Return how many."""
    return tx.execute(
        "DELETE FROM store_items WHERE revision IN"
        " (SELECT revision FROM store_items WHERE expires_at <= :now LIMIT :limit)",
        now=now,
        limit=limit,
    ).rowcount
