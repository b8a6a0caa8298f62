"""Every example of the gallery is what plain LangGraph gives."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from tests.graphs import catalogue
from tests.graphs.model import GalleryModel
from tests.graphs.oracle import Conversation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),  # models keep their connections from test to test
    pytest.mark.filterwarnings("ignore::langgraph.warnings.LangGraphDeprecationWarning"),
]


@pytest.fixture(scope="module")
def model() -> Iterator[GalleryModel]:
    with GalleryModel() as server, catalogue.model_environment(server.base_url):
        yield server
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # connections that end with the loop, without a goodbye


@pytest.mark.parametrize("name", catalogue.names())
async def test_an_example_is_what_plain_langgraph_gives(name: str, model: GalleryModel) -> None:
    entry = catalogue.load(name)
    model.know(name, entry.example)
    conversation = Conversation(entry)
    for turn in entry.example.turns:
        model.begin(name)
        await conversation.take(turn)
        assert len(conversation.asks) == len(turn.asks), conversation.asks
        for question, part in zip(conversation.asks, turn.asks, strict=True):
            assert part in question
        if not turn.asks:
            answer = conversation.answer(model.said(name))
            assert turn.is_answered_by(answer), (turn.says, answer)
    assert model.problems == []
