"""The configuration of a graph's store, as in a `langgraph.json`, and its embedders."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from langchain_core.embeddings import Embeddings
from langgraph.store.base import ensure_embeddings, get_text_at_path
from langgraph.store.base.embed import EmbeddingsLambda
from pydantic import SecretStr

from antiphon.orchestrator.errors import StoreRefused
from antiphon.orchestrator.graphs.loading import import_object, reason_of
from antiphon.orchestrator.store.search import packed, unit

log = logging.getLogger("antiphon.store")

Minutes = Annotated[float, msgspec.Meta(gt=0, le=60 * 24 * 365 * 100)]


class IndexConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How values are embedded: the embedder, the length of its vectors, the fields.

    `embed` is `openai:<model>`, another provider's `<provider>:<model>`, `path.py:name`, a function
    from texts to vectors, or LangChain's `Embeddings`. A field is a path (`text`, `facts[*].text`);
    `$` is the whole value.
    """

    embed: Any
    dims: Annotated[int, msgspec.Meta(gt=0)] | None = None
    fields: list[str] | None = None


class TtlConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How long items are kept after their last use. With `refresh_on_read`, reading is a use."""

    default_ttl: Minutes | None = None
    refresh_on_read: bool = True
    sweep_interval_minutes: Minutes | None = None
    omit_expired: bool = True
    """Accepted, and without effect: an expired item is never shown."""


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The `store` of a `langgraph.json`."""

    index: IndexConfig | None = None
    ttl: TtlConfig | None = None


def check_config(config: Mapping[str, Any] | None) -> None:
    """Raise `ValueError` for an invalid configuration, before anything is opened."""
    index = _converted(config).index
    if index is not None and isinstance(index.embed, str) and _is_module(index.embed):
        _imported(index.embed)


def read_config(config: Mapping[str, Any] | None) -> StoreConfig:
    """Return a checked configuration, and log its unknown keys. Raises `ValueError`."""
    checked, parts = _converted(config), config or {}
    _warn_of_unknown("store", parts, StoreConfig)
    _warn_of_unknown("store.index", parts.get("index"), IndexConfig)
    _warn_of_unknown("store.ttl", parts.get("ttl"), TtlConfig)
    return checked


def _converted(config: Mapping[str, Any] | None) -> StoreConfig:
    try:
        return msgspec.convert(dict(config or {}), StoreConfig)
    except msgspec.ValidationError as error:
        raise ValueError(f"the store's configuration: {error}") from error


def _warn_of_unknown(place: str, part: Mapping[str, Any] | None, struct: type) -> None:
    fields = {field.name for field in msgspec.structs.fields(struct)}
    if unknown := sorted(set(part or {}) - fields):
        log.warning("the configuration %s has unknown keys: %s", place, ", ".join(unknown))


class Vectors(NamedTuple):
    """Embedded texts of operations, by text. Vectors have the length 1; a zero vector is None."""

    documents: Mapping[str, Sequence[float] | None]
    queries: Mapping[str, Sequence[float] | None]


NO_VECTORS = Vectors({}, {})


class Index:
    """Embeds texts. Only vectors of indexes with the same `name` are comparable."""

    def __init__(self, config: IndexConfig, embeddings: Embeddings) -> None:
        self.name = f"{_name_of(config.embed)}/{config.dims or '?'}"
        self.only_async = isinstance(embeddings, EmbeddingsLambda) and hasattr(embeddings, "afunc")
        self._embeddings = embeddings
        self._dims = config.dims
        self._fields = config.fields or ["$"]

    def texts(self, value: Mapping[str, Any], fields: Sequence[str] | None) -> list[str]:
        """Return the texts of a value to embed, of the given fields or of the configured ones."""
        paths = self._fields if fields is None else fields
        return [text for path in paths for text in get_text_at_path(value, path) if text]

    def embed(self, documents: Sequence[str], queries: Sequence[str]) -> Vectors:
        """Embed in the calling thread. Raises what the embedder raises, and `StoreRefused`."""
        embedder = self._embeddings
        of_documents = embedder.embed_documents(list(documents)) if documents else []
        of_queries = [embedder.embed_query(query) for query in queries]
        return Vectors(
            self._checked(documents, of_documents),
            self._checked(queries, of_queries),
        )

    async def aembed(self, documents: Sequence[str], queries: Sequence[str]) -> Vectors:
        """Like `embed`, without blocking the event loop."""
        embedder = self._embeddings
        of_documents = await embedder.aembed_documents(list(documents)) if documents else []
        of_queries = [await embedder.aembed_query(query) for query in queries]
        return Vectors(
            self._checked(documents, of_documents),
            self._checked(queries, of_queries),
        )

    def _checked(self, texts: Sequence[str], vectors: Any) -> dict[str, list[float] | None]:
        if len(vectors) != len(texts):
            raise StoreRefused(f"The embedder gave {len(vectors)} vectors for {len(texts)} texts.")
        return {text: self._unit(vector) for text, vector in zip(texts, vectors, strict=True)}

    def _unit(self, vector: Any) -> list[float] | None:
        if self._dims is not None and len(vector) != self._dims:
            raise StoreRefused(f"The embedder gave {len(vector)} numbers instead of {self._dims}.")
        return unit(vector)

    def packed(self, texts: Sequence[str], vectors: Vectors) -> bytes | None:
        """Return the vectors of a value's texts as they are stored; None if there are none."""
        of_texts = [vectors.documents[text] for text in texts]
        return packed(vector for vector in of_texts if vector is not None)


class Embedders(NamedTuple):
    """Makes embedders. The key and the URL are for `openai:`."""

    api_key: str | None
    base_url: str | None
    closing: AsyncExitStack
    """Closes the connections of the embedders."""

    def make(self, embed: Any) -> Embeddings:
        """Return an embedder. Raises `ValueError`."""
        if isinstance(embed, str):
            return self._by_spec(embed)
        if callable(embed) or isinstance(embed, Embeddings):
            return ensure_embeddings(embed)
        kind = type(embed).__name__
        raise ValueError(f"the store's configuration: a {kind} cannot embed texts")

    def _by_spec(self, spec: str) -> Embeddings:
        kind, _, name = spec.rpartition(":")
        if not kind or not name:
            wanted = "provider:model or path.py:name"
            raise ValueError(f"the store's configuration: {spec!r} is not {wanted}")
        if kind == "openai":
            return self._openai(name)
        if _is_module(spec):
            return self.make(_imported(spec))
        with _loading(spec):
            return ensure_embeddings(spec)

    def _openai(self, model: str) -> Embeddings:
        """Return an embedder for OpenAI's protocol.

        It sends texts, not tokens: other endpoints do not know OpenAI's tokens.
        """
        import openai
        from langchain_openai import OpenAIEmbeddings

        client, async_client = openai.DefaultHttpxClient(), openai.DefaultAsyncHttpxClient()
        self.closing.callback(client.close)
        self.closing.push_async_callback(async_client.aclose)
        return OpenAIEmbeddings(
            model=model,
            api_key=SecretStr(self.api_key or "none"),
            base_url=self.base_url,
            http_client=client,
            http_async_client=async_client,
            check_embedding_ctx_length=False,
            max_retries=3,
        )


def _is_module(spec: str) -> bool:
    """Return whether a spec names a file or a module, by characters that no provider has."""
    return any(mark in spec.rpartition(":")[0] for mark in "./")


def _imported(spec: str) -> Any:
    with _loading(spec):
        return import_object(spec)


@contextmanager
def _loading(spec: str) -> Iterator[None]:
    """Turn any failure into a `ValueError` of one line."""
    try:
        yield
    except Exception as error:
        reason = reason_of(error)
        raise ValueError(f"the store's embedder {spec!r} cannot be loaded: {reason}") from error


def _name_of(embed: Any) -> str:
    if isinstance(embed, str):
        return Path(embed).name if ".py:" in embed else embed  # the same after a project has moved
    named = embed if hasattr(embed, "__qualname__") else type(embed)
    return f"{named.__module__}.{named.__qualname__}"
