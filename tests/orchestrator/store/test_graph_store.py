"""A store in every graph: over restarts and kills, from threads and loops, with clear refusals."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, dynamic_prompt
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_store
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedStore
from langgraph.runtime import Runtime
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from antiphon.data import open_database, transactions
from antiphon.data.database import Database
from antiphon.data.errors import StorageError
from antiphon.data.records import ItemWrite
from antiphon.orchestrator.errors import StoreRefused
from antiphon.orchestrator.events import RunError, ToolComplete
from antiphon.orchestrator.store import GraphStore, open_graph_store
from antiphon.orchestrator.store.operations import BATCH_BYTES, BATCH_OPERATIONS, VALUE_BYTES
from antiphon.orchestrator.testing import ScriptedModel, tool_call
from tests.orchestrator.support import chain, events_of, of_type, opened
from tests.support.deadline import DEADLINE

ROOT = Path(__file__).parents[3]
HERE = ("memories", "ada")


@pytest.fixture
async def store(database: Database) -> AsyncIterator[GraphStore]:
    async with open_graph_store(database) as opened_store:
        yield opened_store


# -- every way to a store -------------------------------------------------------------------------


def said(state: Any) -> str:
    """The message of the user, of which the graphs below keep the last one before it."""
    return str(state["messages"][-1].text)


def before(item: Any) -> dict[str, Any]:
    return {"messages": [AIMessage(f"before: {item.value['text'] if item else 'nothing'}")]}


def by_runtime(state: MessagesState, runtime: Runtime[Any]) -> dict[str, Any]:
    assert runtime.store
    item = runtime.store.get(HERE, "last")
    runtime.store.put(HERE, "last", {"text": said(state)})
    return before(item)


async def by_runtime_async(state: MessagesState, runtime: Runtime[Any]) -> dict[str, Any]:
    assert runtime.store
    item = await runtime.store.aget(HERE, "last")
    await runtime.store.aput(HERE, "last", {"text": said(state)})
    return before(item)


def by_get_store(state: MessagesState) -> dict[str, Any]:
    item = get_store().get(HERE, "last")
    get_store().put(HERE, "last", {"text": said(state)})
    return before(item)


async def by_get_store_async(state: MessagesState) -> dict[str, Any]:
    item = await get_store().aget(HERE, "last")
    await get_store().aput(HERE, "last", {"text": said(state)})
    return before(item)


def by_parameter(
    state: MessagesState, config: RunnableConfig, *, store: BaseStore
) -> dict[str, Any]:
    assert config["configurable"]["thread_id"]
    [item] = store.search(HERE) or [None]
    store.put(HERE, "last", {"text": said(state)})
    return before(item)


async def by_parameter_async(state: MessagesState, *, store: BaseStore) -> dict[str, Any]:
    [item] = await store.asearch(HERE) or [None]
    await store.aput(HERE, "last", {"text": said(state)})
    return before(item)


@tool
def swap(text: str, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Keep a text and return the one before."""
    item = store.get(HERE, "last")
    store.put(HERE, "last", {"text": text})
    return item.value["text"] if item else "nothing"


@tool
async def swap_async(text: str, runtime: ToolRuntime) -> str:
    """Keep a text and return the one before."""
    assert runtime.store
    item = await runtime.store.aget(HERE, "last")
    await runtime.store.aput(HERE, "last", {"text": text})
    return item.value["text"] if item else "nothing"


def agent_with(given: Any, text: str, earlier: str) -> Any:
    """An agent that keeps a text by its tool, and answers what it then should know."""
    model = ScriptedModel(turns=[[tool_call(given.name, "1", text=text)], [f"before: {earlier}"]])
    return create_agent(model, [given], name="graph")


def subgraph() -> Any:
    return chain("graph", outer=chain("inner", node=by_runtime))


def functional() -> Any:
    @task
    def keep(text: str) -> str:
        item = get_store().get(HERE, "last")
        get_store().put(HERE, "last", {"text": text})
        return item.value["text"] if item else "nothing"

    @entrypoint()
    async def graph(messages: Any, *, store: BaseStore) -> Any:
        assert store is get_store()
        return f"before: {await keep(messages)}"

    return graph


WAYS: dict[str, Callable[[], Any]] = {
    **{
        node.__name__: lambda node=node: chain("graph", node=node)
        for node in (
            by_runtime,
            by_runtime_async,
            by_get_store,
            by_get_store_async,
            by_parameter,
            by_parameter_async,
        )
    },
    "subgraph": subgraph,
    "functional": functional,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_graph_finds_in_its_store_what_it_kept_before_a_restart(url: str, way: str) -> None:
    for text, earlier in (("tea", "nothing"), ("milk", "tea"), ("rain", "milk")):
        async with opened(url, WAYS[way]()) as engine:
            assert await (await engine.start(text)).text() == f"before: {earlier}"
            assert engine.environment.store
            item = await engine.environment.store.aget(HERE, "last")
            assert item
            assert item.value == {"text": text}


@pytest.mark.parametrize("given", [swap, swap_async], ids=lambda given: given.name)
async def test_a_tool_finds_it_too(url: str, given: Any) -> None:
    for text, earlier in (("tea", "nothing"), ("milk", "tea")):
        async with opened(url, agent_with(given, text, earlier)) as engine:
            run = await engine.start("go on")
            [complete] = of_type(await events_of(run), ToolComplete)
            assert earlier in str(complete.output)
            assert await run.text() == f"before: {earlier}"


async def test_all_graphs_and_threads_of_an_engine_share_one_store(url: str) -> None:
    async with opened(
        url, chain("one", node=by_runtime), chain("two", node=by_get_store_async)
    ) as engine:
        assert await (await engine.start("tea", graph="one")).text() == "before: nothing"
        assert await (await engine.start("milk", graph="two")).text() == "before: tea"


async def test_a_graph_that_was_compiled_with_a_store_keeps_its_own(url: str) -> None:
    own = InMemoryStore()
    builder = StateGraph(MessagesState)
    builder.add_node("node", by_runtime)
    builder.add_edge(START, "node")
    async with opened(url, builder.compile(name="graph", store=own)) as engine:
        await (await engine.start("tea")).text()
        assert engine.environment.store
        assert await engine.environment.store.asearch(()) == []
    kept = own.get(HERE, "last")
    assert kept
    assert kept.value == {"text": "tea"}


async def test_the_configuration_reaches_the_graphs_store(url: str) -> None:
    async def node(state: MessagesState, *, store: BaseStore) -> dict[str, Any]:
        await store.aput(HERE, "a", {"text": "aaa"})
        await store.aput(HERE, "b", {"text": "bbb"})
        found = await store.asearch(HERE, query="bb")
        return {"messages": [AIMessage(f"{found[0].key} {found[0].score:.2f}")]}

    config = {"index": {"embed": letters, "dims": 2, "fields": ["text"]}}
    async with opened(url, chain("graph", node=node), store=config) as engine:
        assert await (await engine.start("go")).text() == "b 1.00"


def letters(texts: list[str]) -> list[list[float]]:
    return [[float(text.count("a")), float(text.count("b"))] for text in texts]


LISTING = {
    "graphs": {
        "made": "./src/remembering/graph.py:make",
        "other": "./src/remembering/graph.py:make",
    },
    "dependencies": ["."],
    "store": {
        "index": {"embed": "./src/remembering/embedding.py:embed", "dims": 2, "fields": ["text"]},
        "ttl": {"default_ttl": 60},
    },
}
EMBEDDING = """
from remembering.letters import LETTERS

def embed(texts):
    return [[float(text.count(letter)) for letter in LETTERS] for text in texts]
"""
MAKE = """
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph_sdk.runtime import ServerRuntime

async def node(state, *, store):
    await store.aput(("notes",), "a", {"text": "aaa"})
    await store.aput(("notes",), "b", {"text": "bbb"})
    found = await store.asearch(("notes",), query="bb")
    return {"messages": [AIMessage(f"{found[0].key} {found[0].score:.2f} {store.ttl_config}")]}

async def make(runtime: ServerRuntime):
    assert runtime.store is not None
    return StateGraph(MessagesState).add_node(node).add_edge(START, "node").compile()
"""


async def test_a_langgraph_json_configures_the_store_with_an_embedder_of_the_project(
    url: str, tmp_path: Path
) -> None:
    package = tmp_path / "project" / "src" / "remembering"
    package.mkdir(parents=True)
    for name, text in (
        ("__init__", ""),
        ("letters", "LETTERS = 'ab'"),
        ("embedding", EMBEDDING),
        ("graph", MAKE),
    ):
        (package / f"{name}.py").write_text(text)
    listing = tmp_path / "project" / "langgraph.json"
    listing.write_text(json.dumps(LISTING))
    async with opened(url, str(listing)) as engine:
        answer = await (await engine.start("go")).text()
    assert answer.startswith("b 1.00 ")
    assert "'default_ttl': 60" in answer


async def test_a_wrong_configuration_is_said_at_the_start_and_leaves_nothing_open(url: str) -> None:
    before = set(threading.enumerate())
    with pytest.raises(ValueError, match="ttl"):
        async with opened(url, store={"ttl": {"default_ttl": "soon"}}):
            pass
    writers = [
        thread for thread in set(threading.enumerate()) - before if thread.name == "antiphon-writer"
    ]
    for writer in writers:
        await asyncio.to_thread(writer.join, DEADLINE)  # a moment after the error, at most
        assert not writer.is_alive()


# -- threads and loops ----------------------------------------------------------------------------


CALLS: dict[str, Callable[[GraphStore], Any]] = {
    "get": lambda store: store.get(HERE, "k"),
    "put": lambda store: store.put(HERE, "k", {"text": "a"}),
    "delete": lambda store: store.delete(HERE, "k"),
    "search": lambda store: store.search(HERE),
    "list_namespaces": lambda store: store.list_namespaces(),
    "batch": lambda store: store.batch([GetOp(HERE, "k")] * 2),
}


@pytest.mark.parametrize("method", CALLS)
async def test_a_coroutine_may_call_it_too_which_is_said_once(
    store: GraphStore, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    await asyncio.to_thread(CALLS[method], store)
    assert caplog.records == []
    for _ in range(2):
        CALLS[method](store)
    [record] = caplog.records
    assert f"store.{method}()" in record.getMessage()
    assert f"await store.a{method}()" in record.getMessage()


async def test_what_a_coroutine_puts_is_there_at_once(store: GraphStore) -> None:
    for number in range(9):
        store.put(HERE, "k", {"n": number})
        [found] = store.search(HERE, query="words", filter={"n": number})
        item = await store.aget(HERE, "k")
        assert item
        assert item.value == found.value == {"n": number}


async def test_langchains_middleware_reads_it_on_the_event_loop(url: str) -> None:
    """A plain function as a dynamic prompt is called by a coroutine of LangChain's."""
    prompts: list[str] = []

    @dynamic_prompt
    def remembered(request: ModelRequest) -> str:
        assert request.runtime.store
        item = request.runtime.store.get(HERE, "last")
        prompts.append(item.value["text"] if item else "nothing")
        request.runtime.store.put(HERE, "last", {"text": said(request.state)})
        return prompts[-1]

    model = ScriptedModel(turns=[["one"], ["two"]])
    graph = create_agent(model, [], middleware=[remembered], name="graph")
    async with opened(url, graph) as engine:
        assert await (await engine.start("tea")).text() == "one"
        assert await (await engine.start("milk")).text() == "two"
    assert prompts == ["nothing", "tea"]


async def test_an_asynchronous_embedder_cannot_be_waited_for_on_its_own_loop(
    database: Database,
) -> None:
    async def embed(texts: list[str]) -> list[list[float]]:
        return letters(texts)

    async with open_graph_store(database, {"index": {"embed": embed, "dims": 2}}) as store:
        for call in (CALLS["put"], lambda store: store.search(HERE, query="a")):
            with pytest.raises(StoreRefused, match=r"await store\.aput"):
                call(store)
        assert store.search(HERE) == [], "what needs no embedding works"


async def test_it_can_be_used_on_another_loop_in_either_way(store: GraphStore) -> None:
    async def elsewhere() -> Any:
        await store.aput(HERE, "a", {"n": 1})
        store.put(HERE, "b", {"n": 2})
        return await store.aget(HERE, "b"), store.get(HERE, "a")

    two, one = await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert (one.value, two.value) == ({"n": 1}, {"n": 2})


async def test_more_threads_than_the_pool_has_can_wait_for_it_at_once(database: Database) -> None:
    """An embedder that is a plain function needs a thread itself where it is called from the
    loop.
    """
    async with open_graph_store(database, {"index": {"embed": letters, "dims": 2}}) as store:

        def use(number: int) -> list[Any]:
            store.put((*HERE, str(number)), "k", {"text": "a" * number})
            return store.search((*HERE, str(number)), query="a")

        found = await asyncio.gather(*(asyncio.to_thread(use, number) for number in range(1, 99)))
    assert [len(one) for one in found] == [1] * 98


async def test_an_embedder_that_is_asynchronous_serves_both_halves(database: Database) -> None:
    async def embed(texts: list[str]) -> list[list[float]]:
        await asyncio.sleep(0)
        return letters(texts)

    async with open_graph_store(
        database, {"index": {"embed": embed, "dims": 2, "fields": ["text"]}}
    ) as store:
        await store.aput(HERE, "a", {"text": "a"})
        await asyncio.to_thread(store.put, HERE, "b", {"text": "b"})
        found = await asyncio.to_thread(lambda: store.search(HERE, query="b"))
        assert [(one.key, round(one.score, 2)) for one in found] == [("b", 1.0), ("a", 0.0)]


# -- what is asked --------------------------------------------------------------------------------


async def test_a_value_comes_back_as_json_and_is_nobodys_but_the_callers(store: GraphStore) -> None:
    given = {"list": [1, {"a": None}], "tuple": (1, 2), "text": "ü \ud83d"}
    await store.aput(HERE, "k", given)
    given["list"].append("later")  # type: ignore[attr-defined]
    for _ in range(2):
        item = await store.aget(HERE, "k")
        assert item
        assert item.value == {"list": [1, {"a": None}], "tuple": [1, 2], "text": "ü ?"}
        item.value.clear()


async def put(
    store: GraphStore, value: Any, key: Any = "k", namespace: Any = HERE, **options: Any
) -> None:
    await store.aput(namespace, key, value, **options)


REFUSED: dict[str, Callable[[GraphStore], Any]] = {
    "no dictionary": lambda store: put(store, ["a"]),
    "no JSON": lambda store: put(store, {"a": object()}),
    "too large": lambda store: put(store, {"a": "x" * VALUE_BYTES}),
    "a long key": lambda store: put(store, {}, "k" * 1025),
    "a long namespace": lambda store: put(store, {}, namespace=("n" * 600, "m" * 600)),
    "an odd key": lambda store: put(store, {}, "\ud83d"),
    "an odd namespace": lambda store: put(store, {}, namespace=("\ud83d",)),
    "a key that is no text": lambda store: store.abatch([GetOp(HERE, 7)]),  # type: ignore[arg-type]
    "a negative time": lambda store: put(store, {}, ttl=-1),
    "no time": lambda store: put(store, {}, ttl=float("nan")),
    "too long a time": lambda store: put(store, {}, ttl=1e12),
    "a negative limit": lambda store: store.asearch(HERE, limit=-1),
    "a negative offset": lambda store: store.alist_namespaces(offset=-1),
    "no number": lambda store: store.asearch(HERE, limit="7"),
    "an unknown operator": lambda store: store.asearch(HERE, filter={"a": {"$in": [1]}}),
    "an odd filter": lambda store: store.asearch(HERE, filter={"a": object()}),
    "too many operations": lambda store: store.abatch([GetOp(HERE, "k")] * (BATCH_OPERATIONS + 1)),
    "too much at once": lambda store: store.abatch(
        [
            PutOp(HERE, str(n), {"a": "x" * (VALUE_BYTES - 99)})
            for n in range(BATCH_BYTES // VALUE_BYTES + 1)
        ]
    ),
    "no operation": lambda store: store.abatch(["get"]),  # type: ignore[list-item]
    "no query": lambda store: store.asearch(HERE, query=7),
    "no way to match": lambda store: store.abatch(
        [ListNamespacesOp((MatchCondition("middle", ("a",)),))]  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_cannot_be_kept_or_asked_is_refused_and_nothing_is_stored(
    store: GraphStore, what: str
) -> None:
    with pytest.raises(StoreRefused) as refused:
        await REFUSED[what](store)
    assert refused.value.message != StoreRefused.message, "it says what is wrong"
    assert isinstance(refused.value, ValueError)
    assert await store.asearch(()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda store: put(store, {}, namespace=()),
        lambda store: put(store, {}, namespace=("a.b",)),
        lambda store: put(store, {}, namespace=("a", "")),
        lambda store: put(store, {}, namespace=(7,)),
        lambda store: put(store, {}, namespace=("langgraph", "x")),
        lambda store: store.aget(("a.b",), "k"),
        lambda store: store.asearch(("a", "")),
        lambda store: store.alist_namespaces(prefix=("a.b",)),
        lambda store: store.abatch([PutOp(("a.b",), "k", {})]),
        lambda store: store.abatch([SearchOp(("a.b",))]),
    ],
)
async def test_a_namespace_that_langgraph_refuses_is_refused_in_its_words(
    store: GraphStore, call: Any
) -> None:
    with pytest.raises(InvalidNamespaceError):
        await call(store)


async def test_a_refusal_ends_the_run_with_its_code_and_its_sentence(url: str) -> None:
    def node(state: MessagesState, *, store: BaseStore) -> dict[str, Any]:
        store.put(HERE, "k", {"tags": [object()]})
        return {}

    async with opened(url, chain("graph", node=node)) as engine:
        end = (await events_of(await engine.start("go")))[-1]
    assert isinstance(end, RunError)
    assert end.code == "STORE_REFUSED"
    assert end.message == "value['tags'][0] is of type object, which no store can keep."


async def test_a_search_reads_no_more_than_its_page_needs(
    store: GraphStore, database: Database
) -> None:
    database.submit(
        transactions.put_items, [ItemWrite(namespace=HERE, key="old", value=b"no JSON")], 1
    ).result()
    for number in range(4):
        await store.aput(HERE, str(number), {"n": number})
    assert [item.key for item in await store.asearch(HERE, limit=2, offset=1)] == ["2", "1"]
    assert [item.key for item in await store.asearch(HERE, filter={"n": {"$lt": 2}}, limit=2)] == [
        "1",
        "0",
    ]


# -- time to live ---------------------------------------------------------------------------------


class Time:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.minutes = 0.0

    def __call__(self) -> int:
        return int(self.minutes * 60_000)


@pytest.mark.parametrize("refreshes", [True, False])
async def test_the_configured_time_to_live_holds_for_what_says_no_other(
    database: Database, refreshes: bool
) -> None:
    time = Time()
    config = {"ttl": {"default_ttl": 10, "refresh_on_read": refreshes}}
    async with open_graph_store(database, config, clock=time) as store:
        await store.aput(HERE, "default", {})
        await store.aput(HERE, "short", {}, ttl=1)
        await store.aput(HERE, "ever", {}, ttl=None)
        time.minutes = 9
        assert [item.key for item in await store.asearch(HERE)] == ["ever", "default"]
        time.minutes = 18
        assert [item.key for item in await store.asearch(HERE)] == (
            ["ever", "default"] if refreshes else ["ever"]
        )
        time.minutes = 1000
        assert await store.sweep() == 2
        assert await store.alist_namespaces() == [HERE]


async def test_what_ended_while_nobody_ran_is_deleted_at_the_start(database: Database) -> None:
    time = Time()
    async with open_graph_store(database, clock=time) as store:
        await store.aput(HERE, "k", {"secret": True}, ttl=1)
    time.minutes = 2
    async with open_graph_store(database, clock=time) as store:
        await store.aput(HERE, "other", {})  # meanwhile the first sweep has come to the writer
        assert await store.sweep() == 0


# -- faults and kills -----------------------------------------------------------------------------


async def test_a_store_whose_database_is_closed_is_unavailable(url: str) -> None:
    database = await open_database(url)
    async with open_graph_store(database) as store:
        await database.close()
        for refused in (store.aput(HERE, "k", {}), store.asearch(HERE)):
            with pytest.raises(StorageError):
                await refused


async def test_an_embedder_whose_loop_is_gone_is_unavailable(url: str) -> None:
    async def embed(texts: list[str]) -> list[list[float]]:
        return letters(texts)

    async def open_and_close() -> GraphStore:
        database = await open_database(url)
        async with open_graph_store(database, {"index": {"embed": embed, "dims": 2}}) as store:
            await database.close()
            return store

    store = await asyncio.to_thread(lambda: asyncio.run(open_and_close()))
    for call in (CALLS["put"], CALLS["get"]):
        with pytest.raises(StorageError):
            await asyncio.to_thread(call, store)


async def test_what_was_put_is_there_after_kill_9(url: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.orchestrator.store.child", url),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout
    acknowledged = [(await child.stdout.readline()).decode().strip() for _ in range(40)]
    child.kill()
    rest, _ = await child.communicate()
    acknowledged += rest.decode().split("\n")[:-1]
    database = await open_database(url)
    async with open_graph_store(database) as store:
        for line in acknowledged:
            way, number = line.split()
            item = await store.aget((way,), number)
            assert item
            assert item.value == {"n": int(number)}
    await database.close()
