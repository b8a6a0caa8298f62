"""What a file of the gallery shows: who says what, turn by turn, and what the model is to reply.

Pure data, read by the tests, by the table in docs/graphs.md, and by the scripted model server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.model_server import ModelRequest, Reply

SAME = object()
"""Plain LangGraph is resumed with the turn's own words."""


@dataclass(frozen=True)
class Turn:
    """One message of the user's, and what must come of it.

    says: the message; an answer, if the turn before has ended with a question.
    answer: the whole answer, exactly; a dictionary if it is a JSON object in any spelling.
    asks: texts that stand in the questions that are open when the turn ends, one for each question.
    agents: everybody who must have begun to work in this turn, and nobody else; empty if that
        depends on what has been asked before.
    by: the author of the stored answer; not compared if empty.
    custom: names of custom events that must come.
    resume: what plain LangGraph is resumed with instead of `says`.
    request: what the request has beside the message: `context`, `inputs`, `config`; such a turn is
        played in the native vocabulary only.
    fresh: whether the turn begins a new thread.
    """

    says: str
    answer: str | Mapping[str, Any] = ""
    asks: Sequence[str] = ()
    agents: Sequence[str] = ()
    by: str = ""
    custom: Sequence[str] = ()
    resume: Any = SAME
    request: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False

    def is_answered_by(self, text: str) -> bool:
        """Return whether this text is the answer."""
        if isinstance(self.answer, str):
            return text == self.answer
        try:
            return bool(json.loads(text) == self.answer)
        except ValueError:
            return False


@dataclass(frozen=True)
class Example:
    """What a graph of the gallery shows.

    family: the group it belongs to, one of `FAMILIES`.
    turns: a conversation, in one thread.
    model: the model's replies. A key is the end of a conversation, one line `role: text` for each
        message, with `...` for anything; the first key that fits gives the reply.
    takes: what plain LangGraph is invoked with: "messages", the key of a state, "" for the bare
        text, or a function of the text.
    graph: the name in the file.
    module: a project's module that has the graph; empty if the graph stands beside the example.
    again: how many replies a crash during the last one may lose, because they belong to the same
        node or to nodes beside it; none, if every earlier node is done by then.
    """

    family: str
    turns: Sequence[Turn]
    model: Mapping[str, Reply | str | Mapping[str, Any]] = field(default_factory=dict)
    takes: str | Callable[[str], Any] = "messages"
    graph: str = "graph"
    module: str = ""
    again: int = 0


FAMILIES = (
    "ReAct",
    "Middleware",
    "Structured output",
    "Many agents",
    "Workflows",
    "Humans",
    "Subgraphs",
    "Functional API",
    "Streams of one's own",
    "State",
    "Memory",
    "Failures",
    "Shapes of projects",
)


def call(tool: str, /, saying: str = "", **arguments: Any) -> Reply:
    """A reply that calls a tool, with a text before it if there is something to say."""
    return Reply(saying, tool_calls=[{"name": tool, "arguments": arguments}])


def together(*calls: Reply) -> Reply:
    """One reply with the tool calls of several."""
    return Reply(
        "".join(reply.text for reply in calls),
        tool_calls=[one for reply in calls for one in reply.tool_calls],
    )


def reply_to(example: Example, request: ModelRequest) -> Reply:
    """Return what the model says to a request. Raises `LookupError` if no key fits."""
    asked = transcript(request)
    for key, reply in example.model.items():
        if _pattern(key).search(asked):
            if isinstance(reply, Reply):
                return reply
            return Reply(reply if isinstance(reply, str) else json.dumps(reply))
    raise LookupError(f"no reply fits the end of\n{asked}")


def transcript(request: ModelRequest) -> str:
    """A request's messages as text, one line `role: text` for each."""
    return "\n".join(f"{_role(message)}: {_text(message)}" for message in request.messages)


def _role(message: Mapping[str, Any]) -> str:
    return "system" if message["role"] == "developer" else str(message["role"])


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content)


def _pattern(key: str) -> re.Pattern[str]:
    parts = (re.escape(part.strip()) for part in key.split("..."))
    return re.compile(r"\s*.*\s*".join(parts) + r"\Z", re.DOTALL)
