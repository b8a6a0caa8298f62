"""The graph of every system under test: one node that asks ChatOpenAI once.

The endpoint is `OPENAI_BASE_URL`. `own` is the same graph with Antiphon's own chat model.
"""

from __future__ import annotations

import os
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

from antiphon.orchestrator.models import chat_model


def _graph(model: BaseChatModel) -> Any:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile()


graph = _graph(ChatOpenAI(model="gpt-4o-mini", streaming=True))
own = _graph(chat_model("openai:gpt-4o-mini", base_url=os.environ.get("OPENAI_BASE_URL")))
