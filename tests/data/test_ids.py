"""Ids are UUIDv7."""

from __future__ import annotations

import uuid

from data.ids import new_id


def test_an_id_is_a_uuid_of_version_7():
    assert uuid.UUID(new_id()).version == 7


def test_ids_sort_in_the_order_in_which_they_were_made():
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
