"""Projects in the shapes of LangGraph's official templates are served as they are, all by one server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.wire import Block, sse_all
from tests.orchestrator.projects import write
from tests.support.deadline import DEADLINE
from tests.support.server import ProcessServer, Teller, model_environment, server_process

RUNS = "/api/v1/runs"

NEW_PROJECT = {
    "src/agent/__init__.py": "from agent.graph import graph\n",
    "src/agent/graph.py": """
        from __future__ import annotations

        from dataclasses import dataclass
        from typing import Any

        from langgraph.graph import StateGraph
        from langgraph.runtime import Runtime
        from typing_extensions import TypedDict

        class Context(TypedDict):
            knob: str

        @dataclass
        class State:
            changeme: str = "example"

        async def step(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
            return {"changeme": f"{state.changeme} {(runtime.context or {}).get('knob')}"}

        builder = StateGraph(State, context_schema=Context).add_node(step)
        graph = builder.add_edge("__start__", "step").compile(name="New")
        """,
}

REACT = {
    "src/react_bot/__init__.py": "from react_bot.graph import graph\n",
    "src/react_bot/prompts.py": "SYSTEM = 'You are {role}.'\n",
    "src/react_bot/context.py": """
        from __future__ import annotations

        import os
        from dataclasses import dataclass, field, fields
        from typing import Annotated

        from . import prompts

        @dataclass(kw_only=True)
        class Context:
            system: str = field(default=prompts.SYSTEM)
            model: Annotated[str, {"kind": "llm"}] = field(default="openai/no-such-model")
            role: str = "a bot"

            def __post_init__(self) -> None:
                for one in fields(self):
                    if getattr(self, one.name) == one.default:
                        setattr(self, one.name, os.environ.get(f"BOT_{one.name.upper()}", one.default))
        """,
    "src/react_bot/state.py": """
        from __future__ import annotations

        from collections.abc import Sequence
        from dataclasses import dataclass, field
        from typing import Annotated

        from langchain_core.messages import AnyMessage
        from langgraph.graph import add_messages
        from langgraph.managed import IsLastStep

        @dataclass
        class InputState:
            messages: Annotated[Sequence[AnyMessage], add_messages] = field(default_factory=list)

        @dataclass
        class State(InputState):
            is_last_step: IsLastStep = field(default=False)
        """,
    "src/react_bot/utils.py": """
        def load_chat_model(name: str):
            from langchain.chat_models import init_chat_model

            provider, model = name.split("/", maxsplit=1)
            return init_chat_model(model, model_provider=provider)
        """,
    "src/react_bot/tools.py": """
        def look_up(query: str) -> str:
            '''Look something up.'''
            return query

        TOOLS = [look_up]
        """,
    "src/react_bot/graph.py": """
        from typing import Literal

        from langgraph.graph import StateGraph
        from langgraph.prebuilt import ToolNode
        from langgraph.runtime import Runtime

        from react_bot.context import Context
        from react_bot.state import InputState, State
        from react_bot.tools import TOOLS
        from react_bot.utils import load_chat_model

        async def call_model(state: State, runtime: Runtime[Context]):
            known = runtime.context
            model = load_chat_model(known.model).bind_tools(TOOLS)
            system = {"role": "system", "content": known.system.format(role=known.role)}
            return {"messages": [await model.ainvoke([system, *state.messages])]}

        def route(state: State) -> Literal["__end__", "tools"]:
            return "tools" if state.messages[-1].tool_calls else "__end__"

        builder = StateGraph(State, input_schema=InputState, context_schema=Context)
        builder.add_node(call_model)
        builder.add_node("tools", ToolNode(TOOLS))
        builder.add_edge("__start__", "call_model")
        builder.add_conditional_edges("call_model", route)
        builder.add_edge("tools", "call_model")
        graph = builder.compile(name="ReAct")
        """,
    ".env": "BOT_MODEL=openai/gpt-4o-mini\n",
}

MEMORY = {
    "src/agent/__init__.py": "from agent.graph import graph\n",
    "src/agent/context.py": """
        from dataclasses import dataclass

        @dataclass(kw_only=True)
        class Context:
            user_id: str = "default"
        """,
    "src/agent/graph.py": """
        from langchain_core.messages import AIMessage
        from langgraph.graph import MessagesState, StateGraph
        from langgraph.runtime import Runtime

        from agent.context import Context

        async def remember(state: MessagesState, runtime: Runtime[Context]):
            place = ("memories", runtime.context.user_id)
            known = [item.value["text"] for item in await runtime.store.asearch(place)]
            await runtime.store.aput(place, state["messages"][-1].id, {"text": state["messages"][-1].text})
            return {"messages": [AIMessage(f"{place[1]}: {known}")]}

        builder = StateGraph(MessagesState, context_schema=Context).add_node(remember)
        graph = builder.add_edge("__start__", "remember").compile()
        graph.name = "Memory"
        """,
}

ENRICHMENT = {
    "src/enricher/__init__.py": "",
    "src/enricher/configuration.py": """
        from __future__ import annotations

        from dataclasses import dataclass, fields

        from langchain_core.runnables import RunnableConfig, ensure_config

        @dataclass(kw_only=True)
        class Configuration:
            loops: int = 6

            @classmethod
            def of(cls, config: RunnableConfig | None = None) -> Configuration:
                given = ensure_config(config).get("configurable") or {}
                return cls(**{one.name: given[one.name] for one in fields(cls) if one.name in given})
        """,
    "src/enricher/state.py": """
        from dataclasses import dataclass, field
        from typing import Annotated, Any, Optional

        from langchain_core.messages import BaseMessage
        from langgraph.graph import add_messages

        @dataclass(kw_only=True)
        class InputState:
            topic: str
            extraction_schema: dict[str, Any]
            info: Optional[dict[str, Any]] = field(default=None)

        @dataclass(kw_only=True)
        class State(InputState):
            messages: Annotated[list[BaseMessage], add_messages] = field(default_factory=list)

        @dataclass(kw_only=True)
        class OutputState:
            info: dict[str, Any]
        """,
    "src/enricher/graph.py": """
        from langchain_core.runnables import RunnableConfig
        from langgraph.graph import StateGraph

        from .configuration import Configuration
        from .state import InputState, OutputState, State

        async def extract(state: State, config: RunnableConfig):
            loops = Configuration.of(config).loops
            return {"info": {"topic": state.topic, "schema": state.extraction_schema, "loops": loops}}

        workflow = StateGraph(
            State, input_schema=InputState, output_schema=OutputState, context_schema=Configuration
        )
        graph = workflow.add_node(extract).add_edge("__start__", "extract").compile()
        graph.name = "Enrichment"
        """,
}

PROJECTS = {
    "new": (NEW_PROJECT, "agent", {"env": ".env", "image_distro": "wolfi"}),
    "react": (REACT, "react_bot", {"env": ".env"}),
    "memory": (MEMORY, "agent", {"env": ".env", "python_version": "3.11", "dockerfile_lines": []}),
    "enrichment": (ENRICHMENT, "enricher", {}),
}
"""The files of a project, its package, and what else its `langgraph.json` says, by the name of its graph."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, teller: Teller) -> Iterator[ProcessServer]:
    """All of them behind `antiphon serve`."""
    folder = tmp_path_factory.mktemp("projects")
    options = []
    for name, (files, package, more) in PROJECTS.items():
        listing = {
            "dependencies": ["."],
            "graphs": {name: f"./src/{package}/graph.py:graph"},
            **more,
        }
        write(folder / name, files | {"langgraph.json": json.dumps(listing)})
        options += ["--graph", str(folder / name / "langgraph.json")]
    with server_process(folder, model_environment(teller), *options) as served:
        yield served


async def asked(server: ProcessServer, graph: str, message: str, **body: Any) -> list[Block]:
    """The events of a run of one of the projects."""
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE, trust_env=False) as client:
        return await sse_all(
            client, "POST", RUNS, json={"message": message, "graph": graph, **body}
        )


def text(blocks: list[Block]) -> str:
    """What a run has answered."""
    return str(blocks[-1].data["text"])


def test_all_are_served(server: ProcessServer) -> None:
    graphs = httpx.get(f"{server.url}/health", trust_env=False).json()["graphs"]
    assert graphs == [*PROJECTS, "team"]


async def test_a_new_project_takes_the_message_as_its_one_text(server: ProcessServer) -> None:
    assert text(await asked(server, "new", "hello")) == "hello None"
    turned = await asked(server, "new", "hello", context={"knob": "turned", "unknown": 1})
    assert text(turned) == "hello turned"
    older = await asked(server, "new", "hello", config={"configurable": {"knob": "older"}})
    assert text(older) == "hello older"


async def test_a_react_agent_answers_with_the_model_of_its_context(
    server: ProcessServer, teller: Teller
) -> None:
    question = teller.answer("Who reacts?", "I do.")
    assert text(await asked(server, "react", question)) == "I do."
    await asked(server, "react", question, context={"role": "terse", "model": "openai/other"})
    first, second = (one.body for one in teller.asked(question))
    assert (first["model"], first["messages"][0]["content"]) == ("gpt-4o-mini", "You are a bot.")
    assert (second["model"], second["messages"][0]["content"]) == ("other", "You are terse.")


async def test_a_memory_agent_remembers_by_the_user_of_its_context(server: ProcessServer) -> None:
    ends = [
        text(await asked(server, "memory", message, **body))
        for message, body in (("one", {}), ("two", {}), ("three", {"context": {"user_id": "ada"}}))
    ]
    assert ends == ["default: []", "default: ['one']", "ada: []"]


def test_an_enrichment_agent_needs_its_schema_with_the_topic(server: ProcessServer) -> None:
    refused = httpx.post(
        f"{server.url}{RUNS}", json={"message": "birds", "graph": "enrichment"}, trust_env=False
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "BAD_INPUT")
    assert "extraction_schema" in refused.json()["message"]


async def test_an_enrichment_agent_takes_its_schema_with_the_topic(server: ProcessServer) -> None:
    request = {
        "inputs": {"extraction_schema": {"legs": "int"}},
        "config": {"configurable": {"loops": 2}},
    }
    found = json.loads(text(await asked(server, "enrichment", "birds", **request)))
    assert found == {"info": {"topic": "birds", "schema": {"legs": "int"}, "loops": 2}}
