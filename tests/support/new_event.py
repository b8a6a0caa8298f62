"""Adds the event of docs/adding.md to the vocabulary, and checks what follows by itself.

A program of its own, because the vocabulary is closed once it is imported: the page's lines are
written into the source of `orchestrator/events.py` before anything else imports it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec

PAGE = Path(__file__).parents[2] / "docs/adding.md"
EVENTS = "antiphon.orchestrator.events"
CLAIM = {"agent": "specs", "claim": "The engine has 81 kW.", "holds": True}


def shown() -> list[str]:
    """The blocks of code in the page's section."""
    section = PAGE.read_text(encoding="utf-8").partition("## An event\n")[2]
    return re.findall("```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)


def vocabulary(new_class: str, union: str) -> ModuleType:
    """The module of events with one more class, and one more name in its union."""
    [name] = re.findall(r"    \| \w+\n", union)
    spec = find_spec(EVENTS)
    assert spec is not None and spec.origin is not None
    before, head, after = Path(spec.origin).read_text(encoding="utf-8").partition("AnyEvent = (\n")
    names, end, rest = after.partition("\n)\n")
    source = f"{before}{new_class}\n\n{head}{names}\n{name.rstrip()}{end}{rest}"
    module = sys.modules[EVENTS] = module_from_spec(spec)
    exec(compile(source, spec.origin, "exec"), vars(module))
    return module


async def logged(url: str, node: Callable[..., Any]) -> list[Any]:
    """The log of a run whose graph is one node, with a context that emits."""
    from langgraph.graph import START, MessagesState, StateGraph

    from antiphon import open_engine
    from antiphon.orchestrator.graphs.served import serve_graph

    graph = StateGraph(MessagesState).add_node("check", node).add_edge(START, "check")
    served = replace(
        serve_graph("graph", graph),
        make_context=lambda _request, emit: SimpleNamespace(emit=emit),
    )
    async with open_engine(url, graphs=[served]) as engine:
        return [recorded async for recorded in await engine.start("Is it true?")]


def node_of(code: str, events: ModuleType) -> Callable[..., Any]:
    """The node that the page shows."""
    from langchain_core.messages import AIMessage
    from langgraph.graph import MessagesState
    from langgraph.runtime import Runtime

    from antiphon.orchestrator.team.nodes.context import TeamContext

    scope = {"Any": Any, "AIMessage": AIMessage, "MessagesState": MessagesState}
    scope |= {"Runtime": Runtime, "TeamContext": TeamContext, "ClaimChecked": events.ClaimChecked}
    exec(code, scope)
    node: Callable[..., Any] = scope["check"]
    return node


def frames_of(log: list[Any], recorded: Any) -> dict[str, list[Any]]:
    """The frames that one event of a run gives, by vocabulary."""
    from antiphon.api.dialects import DIALECTS

    frames: dict[str, list[Any]] = {}
    for name, dialect in DIALECTS.items():
        fold = dialect.fold()
        for entry in log:
            news = fold.feed(entry)
            if entry is recorded:
                frames[name] = news
    return frames


def main(url: str) -> None:
    """Check all that follows."""
    new_class, union, code = shown()
    events = vocabulary(new_class, union)
    claim = events.ClaimChecked(**CLAIM)
    assert events.decode(events.encode(claim)) == claim

    log = asyncio.run(logged(url, node_of(code, events)))
    [recorded] = [entry for entry in log if entry.event == claim]

    frames = frames_of(log, recorded)
    [native] = [msgspec.to_builtins(frame.data) for frame in frames.pop("native")]
    place = {name: getattr(recorded, name) for name in ("thread_id", "seq", "run_id", "attempt")}
    assert native == {"type": "claim_checked", "at": recorded.at} | place | CLAIM, native
    assert not any(frames.values()), frames

    from antiphon.api.dialects import DIALECTS
    from antiphon.api.schemas import schemas_of
    from tests.frames_page import page

    _, schemas = schemas_of(DIALECTS["native"].frames)
    assert set(schemas["NativeClaimChecked"]["required"]) == set(native)
    assert "#### `claim_checked`\n\nAn agent has compared a claim with its sources.\n" in page()


if __name__ == "__main__":
    main(sys.argv[1])
