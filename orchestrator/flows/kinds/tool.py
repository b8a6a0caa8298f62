"""`tool`: calls one of the server's own tools."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from langchain_core.tools import BaseTool, StructuredTool

from antiphon.orchestrator.flows.definition import Config, FlowProblem, Kind, Node, pointer
from antiphon.orchestrator.flows.language.expressions import ExpressionError, parse
from antiphon.orchestrator.flows.nodes import Visit
from antiphon.orchestrator.team.nodes.retrieval import look_up

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "calculate": ("expression",),
    "search": ("query",),
    "count_words": ("text",),
    "today": (),
}
"""The arguments of each tool; all are required."""


class ToolConfig(Config, frozen=True):
    """The tool and its arguments, which are templates."""

    tool: Literal["calculate", "search", "count_words", "today"]
    arguments: dict[str, str] = msgspec.field(default_factory=dict)


def check(node: Node, specialists: Collection[str]) -> Iterator[FlowProblem]:
    """Report arguments that are missing or unknown."""
    config: ToolConfig = node.config
    required = ARGUMENTS[config.tool]
    for name in required:
        if name not in config.arguments:
            message = f"This tool needs the argument {name!r}."
            yield node.problem("MISSING_INPUT", message, "arguments")
    for name in config.arguments:
        if name not in required:
            message = f"This tool has no argument {name[:40]!r}."
            yield node.problem("BAD_CONFIG", message, "arguments")


async def run(visit: Visit) -> dict[str, Any]:
    """Call the tool. The text is what it returned."""
    config: ToolConfig = visit.node.config
    arguments = {name: visit.text(f"arguments/{pointer(name)}") for name in config.arguments}
    tool = _tools(visit)[config.tool]
    return visit.reply(await visit.speak(str(await tool.ainvoke(arguments))))


def _tools(visit: Visit) -> dict[str, BaseTool]:
    async def calculate(expression: str) -> str:
        """Work out an arithmetic expression."""
        try:
            return str(parse(expression, ()).evaluate({}))
        except ExpressionError as error:
            return f"cannot be worked out: {error.message}"

    async def search(query: str) -> str:
        """Search the knowledge base."""
        sources = await look_up(visit.context, visit.node.id, query)
        return "\n\n".join(f"[{source.id}] {source.text}" for source in sources)

    async def count_words(text: str) -> str:
        """Count words."""
        return str(len(text.split()))

    async def today() -> str:
        """Return the date in UTC."""
        return datetime.fromtimestamp(visit.clock() / 1000, UTC).date().isoformat()

    functions = (calculate, search, count_words, today)
    return {
        function.__name__: StructuredTool.from_function(coroutine=function)
        for function in functions
    }


KIND = Kind(config=ToolConfig, run=run, check=check, templates=("arguments",), speaks=True)
