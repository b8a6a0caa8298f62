"""Graphs that can be served: the built-in team, or any compiled LangGraph graph of the user's.

`path.py:name` loads one; a `langgraph.json` names several. What is served is copied with the run's own checkpointer,
so a graph brings no storage of its own.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

import msgspec
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from orchestrator.events import AnyEvent
from orchestrator.profiles import Profile
from orchestrator.shape import GraphShape, shape_of

OnCrash = Literal["resume", "fail"]
StateFrom = Literal["thread", "messages"]
TEXT_KEYS = ("question", "query", "input", "message", "text", "prompt")
"""State keys that take the user's message in a graph without `messages`."""


class HistoryMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier message of the conversation; `id` is that of the stored one, if it is stored."""

    role: str
    content: str
    id: str | None = None


class RunInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request asks of a run; stored with it. `access` are the labels of documents that the user may see.

    `profile` is what the user had told about themselves when the message was accepted.
    """

    message: str
    message_id: str | None = None
    """The stored message's id, once it is stored."""
    primary: str | None = None
    supporting: list[str] = []
    mode: str | None = None
    access: tuple[str, ...] = ("public",)
    options: dict[str, Any] = {}
    """What the dialect's fold must know of the request."""
    inputs: dict[str, Any] = {}
    """Values for a flow's nodes, by node."""
    history: list[HistoryMessage] = []
    """The conversation so far, where the client keeps it; else the thread's own messages are taken."""
    profile: Profile | None = None
    traceparent: str | None = None
    """The trace that the request came with, for whoever executes the run."""


class Conclusion(NamedTuple):
    """What one of our own graphs ends with; the text is empty if it is what was shown."""

    text: str
    author: str | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class ServedGraph:
    """A graph and how to talk to it. The defaults fit any graph with `messages` or one text key."""

    name: str
    graph: Pregel[Any, Any, Any, Any]
    shape: GraphShape
    make_input: Callable[[RunInput, list[HistoryMessage], bytes], Any]
    """The graph's input, from the request, the messages that its state has not seen (all of the conversation so far if
    it has none), and what the thread's last run has left."""
    make_context: Callable[[RunInput, Callable[[AnyEvent], None]], Any] = lambda _input, _emit: None
    conclude: Callable[[Mapping[str, Any]], Conclusion] | None = None
    """How one of our own graphs reports its answer, from its last state; None if it is to be found in the output."""
    leave: Callable[[Mapping[str, Any]], bytes | None] = lambda _state: None
    """What of the last state is kept for the thread's next run: empty for nothing, None to keep what there is."""
    steps: int = 60
    """How many steps the graph may take."""
    on_crash: OnCrash = "resume"
    """Whether a run goes on after its process died, or ends as failed."""
    state: StateFrom = "messages"
    """What a turn begins from: the graph's own state as the thread's last run of it has left it, or only messages."""
    agents: tuple[str, ...] = field(default=())
    """Names that a request may choose; empty where the graph decides alone."""


def serve_graph(name: str, graph: Any, on_crash: OnCrash = "resume", state: StateFrom = "thread") -> ServedGraph:
    """Any graph of the user's: compiled, a builder, or a factory without arguments.

    Raises `TypeError` for something else and `ValueError` for a graph that takes no text.
    """
    if inspect.isfunction(graph):
        graph = graph()
    if isinstance(graph, StateGraph):
        graph = graph.compile()
    if not isinstance(graph, Pregel):
        raise TypeError(f"{name} is a {type(graph).__name__}, not a LangGraph graph")
    return ServedGraph(
        name=name,
        graph=graph,
        shape=shape_of(graph),
        make_input=_input_for(name, graph),
        on_crash=on_crash,
        state=state,
    )


def _input_for(name: str, graph: Pregel[Any, Any, Any, Any]) -> Callable[[RunInput, list[HistoryMessage], bytes], Any]:
    if isinstance(graph.input_channels, str) and not hasattr(graph, "builder"):  # made of functions
        return lambda given, history, left: given.message
    keys = _input_keys(graph)
    if "messages" in keys:
        return lambda given, history, left: {
            "messages": [*map(_as_message, history), HumanMessage(given.message, id=given.message_id)]
        }
    texts = [key for key in TEXT_KEYS if key in keys]
    if not texts and len(keys) == 1:
        texts = list(keys)
    if not texts:
        raise ValueError(f"graph {name!r} takes neither `messages` nor one of {', '.join(TEXT_KEYS)}")
    return lambda given, history, left: {texts[0]: given.message}


def _input_keys(graph: Pregel[Any, Any, Any, Any]) -> list[str]:
    """What a graph's input may hold: the fields of its schema, or the channels that take it."""
    builder = getattr(graph, "builder", None)
    schema = getattr(builder, "input_schema", None) or getattr(builder, "state_schema", None)
    if schema is not None:
        return list(get_type_hints(schema))
    channels = graph.input_channels
    return [channels] if isinstance(channels, str) else list(channels)


def _as_message(message: HistoryMessage) -> BaseMessage:
    kind = AIMessage if message.role == "assistant" else HumanMessage
    return kind(message.content, id=message.id)


def load(graph: Any) -> list[ServedGraph]:
    """What somebody wants served: a graph, `path.py:name`, or the path of a `langgraph.json`."""
    if isinstance(graph, ServedGraph):
        return [graph]
    if not isinstance(graph, str | Path):
        return [serve_graph(str(getattr(graph, "name", None) or "graph"), graph)]
    return load_langgraph_json(Path(graph)) if str(graph).endswith(".json") else [load_graph(str(graph))]


def load_graph(spec: str) -> ServedGraph:
    """The graph that `path.py:name` names. Raises `ValueError`, `FileNotFoundError` or `TypeError`."""
    path, _, attribute = spec.rpartition(":")
    if not path or not attribute:
        raise ValueError(f"{spec!r} is not of the form path.py:name")
    return serve_graph(attribute, _attribute(Path(path), attribute))


def load_langgraph_json(path: Path) -> list[ServedGraph]:
    """The graphs that a `langgraph.json` lists, in its order. Raises `ValueError` for one that cannot be read."""

    class Listing(msgspec.Struct):
        graphs: dict[str, str | dict[str, Any]]

    try:
        listing = msgspec.json.decode(path.read_bytes(), type=Listing)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error
    served = []
    for name, entry in listing.graphs.items():
        spec = entry if isinstance(entry, str) else str(entry.get("path", ""))
        file, _, attribute = spec.rpartition(":")
        if not file or not attribute:
            raise ValueError(f"{path}: graph {name!r} is not of the form path.py:name")
        on_crash: OnCrash = "fail" if isinstance(entry, dict) and entry.get("on_crash") == "fail" else "resume"
        served.append(serve_graph(name, _attribute(path.parent / file, attribute), on_crash))
    return served


def _attribute(path: Path, name: str) -> Any:
    """A name out of a file, which is imported like a script: its own folder is on the import path."""
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(path)
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module_name = f"antiphon_graph_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise ValueError(f"{path} has no {name!r}")
    return getattr(module, name)
