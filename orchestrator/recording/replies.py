"""Finds the answer of a graph: texts in what its nodes return, and in its output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.utils import convert_to_messages
from langgraph.types import Command

from antiphon.orchestrator.graphs.shape import path_of
from antiphon.orchestrator.recording.texts import Text
from antiphon.orchestrator.recording.view import RunView
from antiphon.orchestrator.values import plain

ANSWER_KEYS = (
    "answer",
    "output",
    "response",
    "result",
    "final_answer",
    "final_output",
    "final_response",
    "final_report",
    "reply",
)
"""Keys under which graphs leave their answer, in the order in which they are tried."""

Kind = Literal["answer", "preamble", "other"]


class OutputText(NamedTuple):
    """A text in a graph's output; a `preamble` came before the model called tools."""

    text: str
    kind: Kind


def updates_of(outputs: Any) -> list[Any]:
    """Return a node's updates of the state: its return value, or one for each command in it."""
    if isinstance(outputs, Command):
        return [outputs.update]
    if isinstance(outputs, list | tuple) and any(isinstance(part, Command) for part in outputs):
        return [update for part in outputs for update in updates_of(part)]
    if type(outputs).__qualname__ == "entrypoint.final":
        return [outputs.value]
    return [outputs]


def messages_in(update: Any) -> list[BaseMessage]:
    """Return the messages of an update or an output, in whatever form; empty if it has none."""
    if isinstance(update, BaseMessage):
        return [update]
    messages = _field(update, "messages")
    if messages is None and isinstance(update, Mapping):
        conversations = [value for value in update.values() if _is_conversation(value)]
        messages = conversations[0] if len(conversations) == 1 else None
    if messages is None and _is_conversation(update):
        messages = update
    if isinstance(messages, BaseMessage | str | dict) or _is_pair(messages):
        messages = [messages]
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return []
    try:
        return convert_to_messages(messages)
    except Exception:  # not messages, in spite of the name
        return []


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[-1], BaseMessage)


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(part, str) for part in value)
    )


def tool_words(output: Any, call_id: str) -> Any:
    """Return what a tool says by its output, without the state that a command of it carries."""
    for update in updates_of(output):
        answers = [message for message in messages_in(update) if isinstance(message, ToolMessage)]
        own = [message for message in answers if message.tool_call_id == call_id]
        if answers:
            return (own or answers)[-1].content
    if isinstance(output, Command):
        return "" if output.goto == () else f"goes to {output.goto}"
    return output.content if isinstance(output, BaseMessage) else output


def spoken(message: BaseMessage) -> str:
    """Return the text of a message that can be an answer; else an empty string.

    Such a message is an `AIMessage`, or a `HumanMessage` with a name, as workers of a supervisor
    leave it.
    """
    if isinstance(message, AIMessage):
        return str(message.text) or _media(message)
    return str(message.text) if isinstance(message, HumanMessage) and message.name else ""


def _media(message: AIMessage) -> str:
    """Return the kinds of content of an answer without words: `[image]`, `[file]`."""
    blocks = message.content if isinstance(message.content, list) else []
    kinds = [str(block.get("type", "")) for block in blocks if isinstance(block, dict)]
    return " ".join(f"[{kind.removesuffix('_url')}]" for kind in kinds if MEDIA.match(kind))


MEDIA = re.compile(r"(input_|output_)?(image|audio|video|file|document)(_url)?\Z")
"""Types of content blocks with something to see or to hear."""


def reply_text(outputs: Any) -> str:
    """Return the text that a node's return value answers with, or an empty string."""
    for update in reversed(updates_of(outputs)):
        if isinstance(update, str):
            return update
        if messages := messages_in(update):
            return spoken(messages[-1])
        if isinstance(update, Mapping) and (text := _answer_key(update)):
            return text
    return ""


def _answer_key(values: Mapping[str, Any]) -> str:
    texts = [values[key] for key in ANSWER_KEYS if isinstance(values.get(key), str)]
    return texts[0] if texts else ""


class Outcome:
    """The texts in a node's return value: its answers, and all others."""

    def __init__(self, outputs: Any) -> None:
        self._answers: set[str] = set()
        self._others: list[str] = []
        self.is_empty = not any(updates_of(outputs))
        for update in updates_of(outputs):
            self._take(update)

    def _take(self, update: Any) -> None:
        messages = messages_in(update)
        self._answers.update(str(message.text).strip() for message in messages)
        if isinstance(update, str):
            self._answers.add(update.strip())
        elif isinstance(update, Mapping):
            self._answers.update(
                update[key].strip() for key in ANSWER_KEYS if isinstance(update.get(key), str)
            )
            rest = {
                key: value for key, value in update.items() if key != "messages" or not messages
            }
            self._others += texts_in(plain(rest))
        elif not messages and update is not None:
            self._others += texts_in(plain(update))

    def answers(self, text: str) -> bool:
        """Return whether a text is returned as an answer."""
        return text.strip() in self._answers

    def holds(self, text: str) -> bool:
        """Return whether a text is anywhere in what is returned.

        A node that returns nothing takes nothing back: what it has said is its outcome.
        """
        if self.is_empty or self.answers(text):
            return True
        words = text.strip()
        return any(words in other for other in self._others)


def texts_in(value: Any) -> Iterator[str]:
    """Yield all texts in a plain value, in its order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from texts_in(member)


class Output:
    """The output of a graph, compared with the input of the run."""

    def __init__(
        self, output: Any, message: str, message_id: str, inputs: Mapping[str, Any]
    ) -> None:
        self._output = updates_of(output)[-1]
        self._message = message
        self._message_id = message_id
        self._inputs = inputs
        self.holds_message = True
        """Whether the output's conversation has the run's message, so that what is new is known."""

    def texts(self) -> list[OutputText]:
        """Return the texts that the output answers with, in order; one of them is the `answer`.

        Empty if the output has no single answer.
        """
        structured = _field(self._output, "structured_response")
        texts = self._conversation()
        if structured is not None:
            texts = [text for text in texts if text.kind != "answer"]
            return [*texts, OutputText(as_json(structured), "answer")]
        if any(text.kind == "answer" for text in texts):
            return texts
        answer = self._single_text()
        return [*texts, OutputText(answer, "answer")] if answer else []

    def as_object(self) -> str:
        """Return the output as JSON; empty if it has nothing that is new in this run."""
        output = self._output
        if isinstance(output, Mapping):
            is_conversation = "messages" in output  # its other keys are the graph's own
            names = ANSWER_KEYS if is_conversation else tuple(output)
            filled = {key: output[key] for key in names if output.get(key) is not None}
            new = {key: value for key, value in filled.items() if self._is_new(key, value)}
            if not new:
                return ""
            return as_json(new if is_conversation else dict(output))
        if output is None or messages_in(output):
            return ""
        return output if isinstance(output, str) else as_json(output)

    def all_texts(self) -> list[str]:
        """Return all texts anywhere in the output, in its order."""
        return list(texts_in(plain(self._output)))

    def echo(self) -> str:
        """Return the run's message, if the graph returned it under a second key."""
        output = self._output if isinstance(self._output, Mapping) else {}
        texts = [value for value in output.values() if isinstance(value, str)]
        return self._message if texts.count(self._message) > 1 else ""

    def _new_texts(self) -> list[str]:
        output = self._output
        if isinstance(output, str):
            return [output] if output.strip() else []
        if not isinstance(output, Mapping) or "messages" in output:
            return []
        return [
            value
            for key, value in output.items()
            if isinstance(value, str) and value.strip() and self._is_new(key, value)
        ]

    def _conversation(self) -> list[OutputText]:
        """Return the texts of the conversation's new messages: the last one is the answer."""
        messages = self._new_messages()
        last_first: list[OutputText] = []
        answered = False
        for message in reversed(messages):
            is_tools_answer = message is messages[-1] and isinstance(message, ToolMessage)
            text = str(message.text) if is_tools_answer else spoken(message)
            if not text.strip():
                continue
            if isinstance(message, AIMessage) and message.tool_calls:
                last_first.append(OutputText(text, "preamble"))
            else:
                last_first.append(OutputText(text, "other" if answered else "answer"))
                answered = True
        if not answered and last_first:  # the last text came before a tool was called
            last_first[0] = OutputText(last_first[0].text, "answer")
        if not last_first and (text := _last_resort(messages)):
            last_first.append(OutputText(text, "answer"))
        return last_first[::-1]

    def _new_messages(self) -> list[BaseMessage]:
        messages = messages_in(self._output)
        for index in range(len(messages) - 1, -1, -1):
            message = messages[index]
            if message.id == self._message_id:
                return messages[index + 1 :]
        for index in range(len(messages) - 1, -1, -1):
            message = messages[index]
            if isinstance(message, HumanMessage) and str(message.text) == self._message:
                return messages[index + 1 :]
        self.holds_message = not messages
        return messages

    def _single_text(self) -> str:
        output, inputs = self._output, self._inputs
        if isinstance(output, Mapping):
            changed = {
                key: value for key, value in output.items() if not _equal(inputs.get(key), value)
            }
            if text := _answer_key(changed):
                return text
        texts = self._new_texts()
        return texts[0] if len(texts) == 1 else ""

    def _is_new(self, key: str, value: Any) -> bool:
        if key in self._inputs and _equal(self._inputs[key], value):
            return False
        return not (isinstance(value, str) and value == self._message)


def _equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal; values that cannot be compared, as arrays, are not."""
    try:
        return bool(one == other)
    except Exception:
        return one is other


def as_json(value: Any) -> str:
    """Return a value as JSON text."""
    return msgspec.json.encode(plain(value)).decode()


def _last_resort(messages: Sequence[BaseMessage]) -> str:
    """Return what else the last message says: calls that the client is to make, or a plain text."""
    last = messages[-1] if messages else None
    if isinstance(last, AIMessage):
        return "\n".join(f"{call['name']}({as_json(call['args'])})" for call in last.tool_calls)
    return str(last.text) if isinstance(last, HumanMessage) else ""


def expected_texts(output: Output, view: RunView) -> list[str]:
    """Return the texts that make up the answer of a run that has ended: those in its output.

    What the answering agent said before it called tools counts, if it was shown.
    """
    if texts := output.texts():
        return _of_this_run(texts, output, view)
    standing = {str(text).strip(): str(text) for text in view.texts.answering()}
    in_output = dict.fromkeys(text.strip() for text in output.all_texts())
    if confirmed := [standing[text] for text in in_output if text in standing]:
        return confirmed
    whole = output.as_object() or ("" if standing else output.echo())
    return [whole] if whole else list(standing.values())


def _of_this_run(texts: list[OutputText], output: Output, view: RunView) -> list[str]:
    """Return the texts of an output that are an answer of this run, and the answer's preambles."""
    if not output.holds_message:  # only what was said in this run is known to be new
        texts = [each for each in texts if view.find(each.text) is not None]
    answer = view.find(texts[-1].text) if texts else None
    kept = []
    for text, kind in texts:
        if kind == "answer" or (kind == "preamble" and _belongs(view.find(text), answer)):
            kept.append(text)
    return kept


def _belongs(preamble: Text | None, answer: Text | None) -> bool:
    """Whether a preamble was shown, and by the agent that answers."""
    if preamble is None or preamble.channel != "answer" or preamble.past:
        return False
    if answer is None:
        return True
    return preamble.agent == answer.agent and path_of(preamble.node) == path_of(answer.node)
