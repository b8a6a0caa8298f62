"""Ids are UUIDv7, and sometimes made of what they stand for."""

from __future__ import annotations

import uuid

from antiphon.data.ids import new_id, same_id


def test_an_id_is_a_uuid_of_version_7():
    assert uuid.UUID(new_id()).version == 7


def test_ids_sort_in_the_order_in_which_they_were_made():
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_the_same_texts_give_the_same_id_and_others_another():
    texts = [(), ("",), ("", ""), ("a", "b"), ("b", "a"), ("ab",), ('a", "b',), ("ü",)]
    assert len({same_id(*parts) for parts in texts}) == len(texts)
    assert same_id("a", "b") == same_id("a", "b") == str(uuid.UUID(same_id("a", "b")))
