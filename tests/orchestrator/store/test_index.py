"""How a store is configured, and what embeds its texts: functions, files, and endpoints."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import PutOp, SearchOp

from antiphon.data import open_database
from antiphon.data.database import Database
from antiphon.orchestrator.errors import StoreRefused
from antiphon.orchestrator.store import GraphStore, check_config, open_graph_store
from antiphon.orchestrator.store.index import StoreConfig, read_config

HERE = ("memories",)


def letters(texts: Sequence[str]) -> list[list[float]]:
    return [[float(text.count("a")), float(text.count("b"))] for text in texts]


class Letters(Embeddings):
    """As LangChain has them. Queries are told from documents."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append(texts)
        return letters(texts)

    def embed_query(self, text: str) -> list[float]:
        self.asked.append(text)
        return letters([text])[0]


@asynccontextmanager
async def indexed(
    database: Database, embed: Any, fields: list[str] | None = None, **options: Any
) -> AsyncIterator[GraphStore]:
    config = {"index": {"embed": embed, "dims": 2, "fields": fields}}
    async with open_graph_store(database, config, **options) as store:
        yield store


async def ranked(store: GraphStore, query: str) -> list[tuple[str, float | None]]:
    found = await store.asearch(HERE, query=query)
    return [(item.key, item.score and round(item.score, 3)) for item in found]


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"ttl": {"default_ttl": "soon"}}, r"ttl\.default_ttl"),
        ({"ttl": {"default_ttl": -1}}, r"ttl\.default_ttl"),
        ({"ttl": {"sweep_interval_minutes": 0}}, "sweep_interval"),
        ({"ttl": 7}, "ttl"),
        ({"index": {}}, "embed"),
        ({"index": {"embed": "x:y", "dims": 0}}, "dims"),
        ({"index": {"embed": "x:y", "fields": "text"}}, "fields"),
        ({"index": {"embed": 7}}, "cannot embed"),
        ({"index": {"embed": "nothing"}}, "is not provider:model or path.py:name"),
        ({"index": {"embed": "tests.orchestrator.store.test_index:HERE"}}, "a tuple cannot embed"),
        ({"index": {"embed": "openai:"}}, "is not provider:model or path.py:name"),
    ],
)
async def test_a_wrong_configuration_is_said_with_its_place(
    database: Database, config: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        async with open_graph_store(database, config):
            pass


def test_unknown_keys_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_config(
            {
                "index": {"embed": letters, "dimms": 2},
                "ttl": {"omit_expired": False},
                "path": "x.py:y",
            }
        )
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == [
        "path",
        "dimms",
    ]


@pytest.mark.parametrize("nothing", [None, {}, {"index": None, "ttl": None}])
def test_a_store_needs_no_configuration(nothing: Any) -> None:
    assert read_config(nothing) == StoreConfig()


# -- indexing -------------------------------------------------------------------------------------


async def test_the_whole_value_is_indexed_unless_fields_are_named(database: Database) -> None:
    value = {"text": "a", "other": "bbb"}
    async with indexed(database, letters) as store:
        await store.aput(HERE, "whole", {"x": "ab"})
        await store.aput(HERE, "none", value, index=False)
        await store.aput(HERE, "field", value, index=["text"])
        assert await ranked(store, "a") == [("field", 1.0), ("whole", 0.707), ("none", None)]
    async with indexed(database, letters, fields=["text", "list[*].t"]) as store:
        await store.aput(HERE, "whole", {"text": "b", "list": [{"t": "bb"}, {"t": "a"}]})
        await store.aput(HERE, "none", {"other": "a"})
        assert await ranked(store, "a") == [("whole", 1.0), ("field", 1.0), ("none", None)]


async def test_a_new_value_has_its_own_vectors_only(database: Database) -> None:
    async with indexed(database, letters, fields=["text"]) as store:
        await store.aput(HERE, "k", {"text": "a"})
        await store.aput(HERE, "k", {"other": "a"})
        assert await ranked(store, "a") == [("k", None)]


async def test_a_batch_is_embedded_at_once_and_each_text_once(database: Database) -> None:
    embeddings = Letters()
    async with indexed(database, embeddings, fields=["text"]) as store:
        await asyncio.to_thread(lambda: store.put(HERE, "k", {"text": "a"}))
        texts = ["a", "b", "a"]
        puts = [PutOp(HERE, str(number), {"text": text}) for number, text in enumerate(texts)]
        await store.abatch([*puts, SearchOp(HERE, query="ab"), SearchOp(HERE, query="ab")])
    assert embeddings.asked == [["a"], ["a", "b"], "ab"]


async def test_vectors_of_another_embedder_do_not_count(database: Database) -> None:
    async with indexed(database, letters) as store:
        await store.aput(HERE, "k", {"text": "a"})
    async with indexed(database, Letters()) as store:
        assert await ranked(store, "a") == [("k", None)]
        await store.aput(HERE, "new", {"text": "a"})
        assert await ranked(store, "a") == [("new", 1.0), ("k", None)]
    async with open_graph_store(database) as store:
        assert await ranked(store, "words") == [("new", None), ("k", None)]


@pytest.mark.parametrize(
    ("embed", "said"),
    [
        (lambda texts: [[1.0]] * len(texts), "1 numbers instead of 2"),
        (lambda texts: [], "0 vectors for 1 texts"),
        (lambda texts: [[float("nan"), 1.0]] * len(texts), "not finite"),
    ],
)
async def test_what_is_no_vector_is_refused_and_nothing_is_stored(
    database: Database, embed: Any, said: str
) -> None:
    async with indexed(database, embed) as store:
        with pytest.raises(StoreRefused, match=said):
            await store.aput(HERE, "k", {"text": "a"})
        with pytest.raises(StoreRefused, match=said):
            await asyncio.to_thread(store.put, HERE, "k", {"text": "a"})
        assert await store.asearch(HERE) == []


async def test_what_an_embedder_raises_is_raised_and_nothing_is_stored(database: Database) -> None:
    def broken(texts: list[str]) -> list[list[float]]:
        raise LookupError("no model")

    async with indexed(database, broken) as store:
        with pytest.raises(LookupError, match="no model"):
            await store.aput(HERE, "k", {"text": "a"})
        assert await store.asearch(HERE) == []


# -- files and endpoints --------------------------------------------------------------------------


EMBEDDER = """
def embed(texts):
    return [[1.0, float(len(text))] for text in texts]

async def embed_later(texts):
    return embed(texts)
"""


@pytest.mark.parametrize("name", ["embed", "embed_later"])
async def test_an_embedder_is_loaded_from_a_file(
    database: Database, tmp_path: Path, name: str
) -> None:
    (tmp_path / "embedder.py").write_text(EMBEDDER)
    async with indexed(database, f"{tmp_path}/embedder.py:{name}", ["text"]) as store:
        await store.aput(HERE, "k", {"text": "a"})
        await asyncio.to_thread(store.put, HERE, "l", {"text": "aa"})
        assert await ranked(store, "b") == [("k", 1.0), ("l", 0.949)]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("./nowhere.py:embed", "there is no file"),
        ("{}/broken.py:embed", "ZeroDivisionError"),
        ("{}/empty.py:embed", "has no 'embed'"),
        ("nobody:knows", "nobody"),
    ],
)
async def test_an_embedder_that_cannot_be_loaded_is_said_in_one_line(
    database: Database, tmp_path: Path, spec: str, said: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="cannot be loaded") as failed:
        async with indexed(database, spec.format(tmp_path)):
            pass
    assert said in str(failed.value)
    assert "\n" not in str(failed.value)
    if spec != "nobody:knows":  # its package is looked for when the store is opened
        with pytest.raises(ValueError, match="cannot be loaded"):
            check_config({"index": {"embed": spec.format(tmp_path)}})


class Endpoint:
    """Answers `POST …/embeddings` as OpenAI does, one connection per request."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.status = 200

    async def __aenter__(self) -> Endpoint:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        request = json.loads(await reader.readexactly(length))
        self.requests.append({**request, "path": head.split()[1]})
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(letters(request["input"]))
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        body = json.dumps(
            {"object": "list", "data": data, "model": request["model"], "usage": usage}
        ).encode()
        writer.write(
            f"HTTP/1.1 {self.status} X\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()


async def test_an_endpoint_that_speaks_openais_protocol_is_sent_texts(database: Database) -> None:
    async with (
        Endpoint() as endpoint,
        indexed(database, "openai:small", fields=["text"], base_url=endpoint.base_url) as store,
    ):
        await store.aput(HERE, "a", {"text": "a"})
        await asyncio.to_thread(store.put, HERE, "b", {"text": "b"})
        assert await ranked(store, "b") == [("b", 1.0), ("a", 0.0)]
        found = await asyncio.to_thread(lambda: store.search(HERE, query="a"))
        assert [item.key for item in found] == ["a", "b"]
        assert [(one["path"], one["model"], one["input"]) for one in endpoint.requests] == [
            ("/v1/embeddings", "small", [text]) for text in ("a", "b", "b", "a")
        ]
        endpoint.status = 401
        with pytest.raises(openai.AuthenticationError):
            await store.aput(HERE, "c", {"text": "c"})
        assert await store.aget(HERE, "c") is None


async def test_vectors_outlive_a_restart(url: str) -> None:
    for keys in (["a"], ["b", "a"]):
        database = await open_database(url)
        async with indexed(database, letters, fields=["text"]) as store:
            await store.aput(HERE, keys[0], {"text": keys[0]})
            assert [key for key, score in await ranked(store, "b") if score is not None] == keys
        await database.close()
