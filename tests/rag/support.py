"""Documents for the tests of stores."""

from __future__ import annotations

from antiphon.rag.stores.base import Store
from antiphon.rag.types import PUBLIC, Chunk, Document, ScoredChunk


def put(store: Store, uri: str, *texts: str, access: str = PUBLIC, heading: str = "Title") -> None:
    document = Document(uri=uri, title="Title", text="\n\n".join(texts), access=access)
    chunks = [
        Chunk(document=uri, ordinal=number, heading=heading, text=text, access=access)
        for number, text in enumerate(texts)
    ]
    store.put(document, chunks)


def ids(hits: list[ScoredChunk]) -> list[str]:
    return [hit.id for hit in hits]
