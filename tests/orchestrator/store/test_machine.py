"""The store against LangGraph's own in memory: any order of putting, reading and restarting.

Both give the same, except for the order of a search (ours: the last written first), namespaces
without items and vectors of fields that are gone (which `Memory` forgets), paging past the scored
items, and comparisons that the in-memory store raises for. The time to live, which it does not
have, is in the model.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
    ensure_embeddings,
)
from langgraph.store.memory import InMemoryStore

from antiphon.data import open_database
from antiphon.orchestrator.store import GraphStore
from antiphon.orchestrator.store.index import Index, read_config
from tests.support.size import trials

Place = tuple[tuple[str, ...], str]
EVERYTHING = 10**6

LABEL = st.sampled_from(["a", "a", "ab", "a-b", "ä/", "*"])
NAMESPACE = st.lists(LABEL, min_size=1, max_size=3).map(tuple)
PREFIX = st.just(()) | st.just(("a",)) | st.lists(LABEL, max_size=2).map(tuple)
KEY = st.sampled_from(["1", "2", "x.y", ""])
WORD = st.sampled_from(["tea", "coffee", "milk", "rain", "snow"])
WORDS = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | WORDS
TREE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("nt"), inner)
)
VALUE = st.fixed_dictionaries({}, optional={"n": LEAF, "t": WORDS, "d": TREE})
CONDITION = (
    LEAF
    | TREE
    | st.dictionaries(
        st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), LEAF, max_size=2
    )
)
FILTER = st.none() | st.dictionaries(st.sampled_from("ntd"), CONDITION, max_size=2)
LIMIT = st.sampled_from([9, 9, 2, 1, 0])
OFFSET = st.sampled_from([0, 0, 1, 2])
INDEX = st.sampled_from([None, None, False, ["t"], ["d"]])
TTL = st.none() | st.integers(1, 3)
MINUTE = 60_000


def letters(texts: list[str]) -> list[list[float]]:
    """How often some letters stand in a text, and its length."""
    return [
        [1.0 + len(text), *(text.count(letter) for letter in "acefikmnorstw")] for text in texts
    ]


class Memory(InMemoryStore):
    """LangGraph's, without what it keeps by mistake."""

    def forget_vectors(self, place: Place) -> None:
        """Those of an earlier value stay otherwise, with fields that the new one does not have."""
        self._vectors[place[0]].pop(place[1], None)

    def forget_empty(self) -> None:
        """Namespaces that were only asked for, or whose items are gone."""
        for namespace in [namespace for namespace, items in self._data.items() if not items]:
            del self._data[namespace]


class StoreMachine(RuleBasedStateMachine):
    """Every operation goes to both stores."""

    indexed = False

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 0
        self.writes = 0
        self.written: dict[Place, int] = {}
        self.created: dict[Place, int] = {}
        self.updated: dict[Place, int] = {}
        self.lasting: dict[Place, tuple[int, int]] = {}
        self.ended: set[Place] = set()
        self.config = read_config(
            {"index": {"embed": letters, "dims": 14}} if self.indexed else None
        )
        self.memory = Memory(index={"embed": letters, "dims": 14} if self.indexed else None)
        self._open()

    def _open(self) -> None:
        self.database = self.do(open_database(f"sqlite:///{self.folder / 'store.db'}"))
        index = Index(self.config.index, ensure_embeddings(letters)) if self.config.index else None

        async def make() -> GraphStore:
            return GraphStore(self.database, self.config, index, lambda: self.now)

        self.store = self.do(make())

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.do(self.database.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    def do(self, wanted: Awaitable[Any]) -> Any:
        async def body() -> Any:
            return await wanted

        return self.runner.run(body())

    def ask(self, threaded: bool, method: str, *given: Any, **options: Any) -> Any:
        """Call our store on its loop, or from a thread."""
        if threaded:
            return self.do(asyncio.to_thread(getattr(self.store, method), *given, **options))
        return self.do(getattr(self.store, f"a{method}")(*given, **options))

    # -- the model's own: who was written when, and until when it is there ------------------------

    def note_put(self, place: Place, ttl: int | None = None) -> None:
        self.writes += 1
        self.written[place] = self.writes
        self.created.setdefault(place, self.now)
        self.updated[place] = self.now
        self.ended.discard(place)
        self.lasting.pop(place, None)
        if ttl is not None:
            self.lasting[place] = (ttl, self.now + ttl * MINUTE)

    def note_gone(self, place: Place) -> None:
        for known in (self.written, self.created, self.updated, self.lasting):
            known.pop(place, None)

    def note_read(self, items: list[Item], refresh: bool | None) -> None:
        for item in items:
            place = (item.namespace, item.key)
            if place in self.lasting and refresh is not False:
                self.lasting[place] = (
                    self.lasting[place][0],
                    self.now + self.lasting[place][0] * MINUTE,
                )

    def same(self, ours: Item, theirs: Item) -> None:
        assert (ours.namespace, ours.key, ours.value) == (
            theirs.namespace,
            theirs.key,
            theirs.value,
        )
        place = (ours.namespace, ours.key)
        assert ours.created_at.timestamp() * 1000 == self.created[place]
        assert ours.updated_at.timestamp() * 1000 == self.updated[place]

    # -- what may happen --------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([0.5, 1, 2]))
    def time_passes(self, minutes: float) -> None:
        self.now += int(minutes * MINUTE)
        for place, (_, end) in list(self.lasting.items()):
            if end <= self.now:
                self.memory.delete(*place)
                self.note_gone(place)
                self.ended.add(place)

    @rule(
        puts=st.lists(st.tuples(NAMESPACE, KEY, VALUE, INDEX, TTL), min_size=1, max_size=4),
        threaded=st.booleans(),
    )
    def put(self, puts, threaded) -> None:
        for namespace, key, value, index, ttl in puts:
            self.ask(threaded, "put", namespace, key, value, index, ttl=ttl)
            self.memory.forget_vectors((namespace, key))
            self.memory.put(namespace, key, value, index)
            self.note_put((namespace, key), ttl)

    @rule(namespace=NAMESPACE, key=KEY, threaded=st.booleans())
    def delete(self, namespace, key, threaded) -> None:
        self.ask(threaded, "delete", namespace, key)
        self.memory.delete(namespace, key)
        self.note_gone((namespace, key))
        self.ended.discard((namespace, key))

    @rule(
        namespace=NAMESPACE,
        key=KEY,
        threaded=st.booleans(),
        refresh=st.sampled_from([None, True, False]),
    )
    def get(self, namespace, key, threaded, refresh) -> None:
        ours = self.ask(threaded, "get", namespace, key, refresh_ttl=refresh)
        theirs = self.memory.get(namespace, key)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            self.same(ours, theirs)
            self.note_read([ours], refresh)

    @rule(
        prefix=PREFIX,
        wanted=FILTER,
        limit=LIMIT,
        offset=OFFSET,
        threaded=st.booleans(),
        refresh=st.booleans(),
    )
    def search(self, prefix, wanted, limit, offset, threaded, refresh) -> None:
        options = {"limit": limit, "offset": offset, "refresh_ttl": refresh}
        ours = self.ask(threaded, "search", prefix, filter=wanted, **options)
        self.note_read(ours, refresh)
        try:
            theirs = self.memory.search(prefix, filter=wanted, limit=EVERYTHING)
        except (TypeError, ValueError):
            return
        theirs.sort(key=lambda item: -self.written[item.namespace, item.key])
        self.same_page(ours, theirs[offset : offset + limit])

    def same_page(self, ours: list[Any], theirs: list[Any]) -> None:
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            self.same(one, other)

    @rule(
        prefix=PREFIX,
        query=WORDS,
        wanted=st.none() | st.fixed_dictionaries({"n": LEAF}),
        limit=LIMIT,
        offset=OFFSET,
    )
    def search_by_query(self, prefix, query, wanted, limit, offset) -> None:
        ours = self.ask(
            False, "search", prefix, query=query, filter=wanted, limit=limit, offset=offset
        )
        self.note_read(ours, None)
        theirs = self.memory.search(prefix, query=query, filter=wanted, limit=EVERYTHING)
        score = {(item.namespace, item.key): self.score_of(item, query) for item in theirs}
        value = {(item.namespace, item.key): item for item in theirs}
        expected = sorted(
            (-math.inf if one is None else one for one in score.values()), reverse=True
        )
        given = [-math.inf if item.score is None else item.score for item in ours]
        assert given == pytest.approx(expected[offset : offset + limit], abs=1e-5)
        for item in ours:
            self.same(item, value[item.namespace, item.key])
            assert item.score == pytest.approx(score[item.namespace, item.key], abs=1e-5)
        if not self.indexed:
            theirs.sort(
                key=lambda one: (
                    -(self.score_of(one, query) or 0),
                    -self.written[one.namespace, one.key],
                )
            )
            self.same_page(ours, theirs[offset : offset + limit])

    def score_of(self, item: Any, query: str) -> float | None:
        """By vectors what the in-memory store gives; else the share of words, which are stems."""
        if self.indexed:
            return item.score  # type: ignore[no-any-return]
        wanted, said = set(query.split()), set(" ".join(texts_of(item.value)).split())
        return len(wanted & said) / len(wanted) or None

    @rule(
        prefix=PREFIX,
        suffix=PREFIX,
        depth=st.none() | st.integers(0, 3),
        limit=LIMIT,
        offset=OFFSET,
        threaded=st.booleans(),
    )
    def list_namespaces(self, prefix, suffix, depth, limit, offset, threaded) -> None:
        wanted = {
            "prefix": prefix or None,
            "suffix": suffix or None,
            "max_depth": depth,
            "limit": limit,
            "offset": offset,
        }
        self.memory.forget_empty()
        assert self.ask(threaded, "list_namespaces", **wanted) == self.memory.list_namespaces(
            **wanted
        )

    @rule(
        puts=st.lists(st.tuples(NAMESPACE, KEY, st.none() | VALUE), max_size=4),
        places=st.lists(st.tuples(NAMESPACE, KEY), max_size=3),
        prefix=PREFIX,
        threaded=st.booleans(),
    )
    def batch(self, puts, places, prefix, threaded) -> None:
        """What reads comes before what writes, wherever it stands; the last of two writes
        counts.
        """
        listing = ListNamespacesOp((MatchCondition("prefix", prefix),), None, EVERYTHING, 0)
        ops: list[Op] = [PutOp(*put, index=False) for put in puts]
        ops += [SearchOp(prefix, None, EVERYTHING, 0), listing]
        ops += [GetOp(*place) for place in places]  # last: in memory they make namespaces
        self.memory.forget_empty()
        for put in puts:
            self.memory.forget_vectors(put[:2])
        theirs = self.memory.batch(ops)
        count = len(puts)
        ours = self.ask(threaded, "batch", ops)
        assert ours[:count] == [None] * count
        assert ours[count + 1] == theirs[count + 1]
        found = sorted(theirs[count], key=lambda item: -self.written[item.namespace, item.key])
        self.same_page(ours[count], found)
        self.note_read(ours[count], None)
        for one, other in zip(ours[count + 2 :], theirs[count + 2 :], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                self.same(one, other)
                self.note_read([one], None)
        for place, value in {(namespace, key): value for namespace, key, value in puts}.items():
            self.ended.discard(place)
            if value is None:
                self.note_gone(place)
            else:
                self.note_put(place)

    @rule()
    def sweep(self) -> None:
        assert self.do(self.store.sweep()) == len(self.ended)
        self.ended.clear()

    @rule()
    def restart(self) -> None:
        self.do(self.database.close())
        self._open()

    @invariant()
    def all_is_there(self) -> None:
        if hasattr(self, "store"):
            found = self.do(self.store.asearch((), limit=EVERYTHING, refresh_ttl=False))
            assert [(item.namespace, item.key) for item in found] == sorted(
                self.written, key=lambda p: -self.written[p]
            )


def texts_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in texts_of(one)]


class IndexedStoreMachine(StoreMachine):
    """The same with an index, where a query is compared by vectors."""

    indexed = True


SETTINGS = settings(
    max_examples=trials(25, 10),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestByWords = StoreMachine.TestCase
TestByWords.settings = SETTINGS
TestByVectors = IndexedStoreMachine.TestCase
TestByVectors.settings = SETTINGS
