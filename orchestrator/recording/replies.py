"""What a graph has answered: texts in what its nodes return and in the output that it ends with."""

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


class Said(NamedTuple):
    """A text in a graph's output; a `preamble` is what a model said before it called tools."""

    text: str
    kind: Kind


def updates_of(outputs: Any) -> list[Any]:
    """What a node's return value adds to the state: one update, or one for each command in it."""
    if isinstance(outputs, Command):
        return [outputs.update]
    if isinstance(outputs, list | tuple) and any(isinstance(one, Command) for one in outputs):
        return [update for one in outputs for update in updates_of(one)]
    if type(outputs).__qualname__ == "entrypoint.final":
        return [outputs.value]
    return [outputs]


def messages_in(update: Any) -> list[BaseMessage]:
    """The messages of an update or an output, whatever form they have; empty if there are none."""
    if isinstance(update, BaseMessage):
        return [update]
    found = _field(update, "messages")
    if found is None and isinstance(update, Mapping):
        lists = [value for value in update.values() if _is_conversation(value)]
        found = lists[0] if len(lists) == 1 else None
    if found is None and _is_conversation(update):
        found = update
    if isinstance(found, BaseMessage | str | dict) or _is_pair(found):
        found = [found]
    if not isinstance(found, Sequence) or isinstance(found, str):
        return []
    try:
        return convert_to_messages(found)
    except Exception:  # no messages, although they are called so
        return []


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[-1], BaseMessage)


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, tuple) and len(value) == 2 and all(isinstance(one, str) for one in value)
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
    """The text of a message that can be an answer: the model's, or a worker's that signed it."""
    if isinstance(message, AIMessage):
        return str(message.text) or _media(message)
    return str(message.text) if isinstance(message, HumanMessage) and message.name else ""


def _media(message: AIMessage) -> str:
    """What stands for an answer without words: `[image]`, `[file]`."""
    blocks = message.content if isinstance(message.content, list) else []
    kinds = [str(block.get("type", "")) for block in blocks if isinstance(block, dict)]
    return " ".join(f"[{kind.removesuffix('_url')}]" for kind in kinds if MEDIA.match(kind))


MEDIA = re.compile(r"(input_|output_)?(image|audio|video|file|document)(_url)?\Z")
"""Types of content blocks that are something to see or to hear."""


def reply_text(outputs: Any) -> str:
    """The text that a node's return value answers with, or an empty string."""
    for update in reversed(updates_of(outputs)):
        if isinstance(update, str):
            return update
        if messages := messages_in(update):
            return spoken(messages[-1])
        if isinstance(update, Mapping) and (text := _answer_key(update)):
            return text
    return ""


def _answer_key(values: Mapping[str, Any]) -> str:
    return next((values[key] for key in ANSWER_KEYS if isinstance(values.get(key), str)), "")


class Outcome:
    """The texts that a node's return value holds: as an answer, or anywhere in it."""

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
        """Whether a text is returned as an answer."""
        return text.strip() in self._answers

    def holds(self, text: str) -> bool:
        """Whether a text is in what is returned, as an answer or in any other way.

        A node that returns nothing at all takes nothing back: what it has said is its outcome.
        """
        asked = text.strip()
        return self.is_empty or self.answers(text) or any(asked in other for other in self._others)


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a plain value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            yield from texts_in(member)


class Output:
    """What a graph ends with, judged by what a run was given."""

    def __init__(
        self, output: Any, message: str, message_id: str, inputs: Mapping[str, Any]
    ) -> None:
        self._output = updates_of(output)[-1]
        self._message = message
        self._message_id = message_id
        self._inputs = inputs
        self.holds_message = True
        """Whether the run's message is found in the output's conversation, so that what is new is known."""

    def said(self) -> list[Said]:
        """The texts that the output answers with, in order: one `answer`, after what came before it.

        Empty if it has no single text.
        """
        structured = _field(self._output, "structured_response")
        texts = self._conversation()
        if structured is not None:
            texts = [one for one in texts if one.kind != "answer"]
            return [*texts, Said(as_json(structured), "answer")]
        if any(one.kind == "answer" for one in texts):
            return texts
        answer = self._single_text()
        return [*texts, Said(answer, "answer")] if answer else []

    def as_object(self) -> str:
        """The output as JSON, without what the run was given; empty if there is nothing left."""
        output = self._output
        if isinstance(output, Mapping):
            names = (
                ANSWER_KEYS if "messages" in output else tuple(output)
            )  # a conversation's other keys are its own
            rest = {
                key: output[key]
                for key in names
                if output.get(key) is not None and self._is_new(key, output[key])
            }
            return (
                as_json(dict(output) if rest and "messages" not in output else rest) if rest else ""
            )
        if output is None or messages_in(output):
            return ""
        return output if isinstance(output, str) else as_json(output)

    def all_texts(self) -> list[str]:
        """All texts anywhere in the output, in its order."""
        return list(texts_in(plain(self._output)))

    def echo(self) -> str:
        """The run's message, if the graph returned it under a second key."""
        output = self._output if isinstance(self._output, Mapping) else {}
        return self._message if sum(value == self._message for value in output.values()) > 1 else ""

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

    def _conversation(self) -> list[Said]:
        """What the conversation's new messages say."""
        found: list[Said] = []
        answered = False
        for index, message in enumerate(reversed(self._new_messages())):
            text = (
                str(message.text)
                if index == 0 and isinstance(message, ToolMessage)
                else spoken(message)
            )
            if not text.strip():
                continue
            calls = isinstance(message, AIMessage) and bool(message.tool_calls)
            if not answered and not calls:
                found.append(Said(text, "answer"))
                answered = True
            else:
                found.append(Said(text, "preamble" if calls else "other"))
        if not answered and found:  # the last word was said before a tool was called
            found[0] = Said(found[0].text, "answer")
        if not found and (text := _last_resort(self._new_messages())):
            found.append(Said(text, "answer"))
        return found[::-1]

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
        output = self._output
        if isinstance(output, Mapping):
            given = self._inputs
            changed = {key: value for key, value in output.items() if given.get(key) != value}
            if text := _answer_key(changed):
                return text
        texts = self._new_texts()
        return texts[0] if len(texts) == 1 else ""

    def _is_new(self, key: str, value: Any) -> bool:
        if key in self._inputs and self._inputs[key] == value:
            return False
        return not (isinstance(value, str) and value == self._message)


def as_json(value: Any) -> str:
    """A value as JSON text."""
    return msgspec.json.encode(plain(value)).decode()


def _last_resort(messages: Sequence[BaseMessage]) -> str:
    """What the last message says in another way: tools that a client is to call, or a message of no agent."""
    last = messages[-1] if messages else None
    if isinstance(last, AIMessage):
        return "\n".join(f"{call['name']}({as_json(call['args'])})" for call in last.tool_calls)
    return str(last.text) if isinstance(last, HumanMessage) else ""


def expected_texts(output: Output, view: RunView) -> list[str]:
    """The texts that make up the answer of a run which has ended: those that its output gives.

    What the answering agent said before it called tools counts, if it was shown.
    """
    if said := output.said():
        if (
            not output.holds_message
        ):  # what is new cannot be told from what is old, unless it was said in this run
            said = [one for one in said if view.said(one.text) is not None]
        answer = view.said(said[-1].text) if said else None
        return [
            text
            for text, kind in said
            if kind == "answer" or (kind == "preamble" and _belongs(view.said(text), answer))
        ]
    standing = {str(text).strip(): str(text) for text in view.texts.answering()}
    held = dict.fromkeys(text.strip() for text in output.all_texts())
    if texts := [standing[text] for text in held if text in standing]:
        return texts
    found = output.as_object() or ("" if standing else output.echo())
    return [found] if found else list(standing.values())


def _belongs(preamble: Text | None, answer: Text | None) -> bool:
    """Whether a preamble was shown, and by the agent that answers."""
    if preamble is None or preamble.channel != "answer" or preamble.past:
        return False
    return answer is None or (
        (preamble.agent, path_of(preamble.node)) == (answer.agent, path_of(answer.node))
    )
