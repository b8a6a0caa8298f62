"""Which texts are the answer: decided by what nodes return, and by what the graph ends with.

Texts stream as they come. When a node's task is done, those that it does not return are taken back;
those that it returns as an answer take back earlier ones whose work went on to it. When the graph
has ended, its output decides. `docs/graphs.md` has the rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from langgraph.types import Command

from antiphon.orchestrator.events import AgentStart, RunAttempt, Superseded, TextRef
from antiphon.orchestrator.graphs.shape import GraphShape, path_of
from antiphon.orchestrator.recording.replies import Outcome, reply_text
from antiphon.orchestrator.recording.spans import AgentSpan, Part, Spans
from antiphon.orchestrator.recording.texts import Key, Text, joined
from antiphon.orchestrator.recording.view import NO_ANSWER
from antiphon.orchestrator.values import storable


class Answers:
    """Decides which texts of one execution of a run stand as its answer."""

    def __init__(self, spans: Spans, shape: GraphShape) -> None:
        self.shape = shape
        self._spans = spans
        self._texts = spans.writer.view.texts
        self._last: set[str] = set()
        """Places of tasks that end their graph: nodes without an edge that returned no command."""
        self._speeches: set[Key] = set()
        """Texts that nodes wrote by themselves, which are always meant for the reader."""

    def speak(self, part: Part) -> None:
        """Note that a node writes a text by itself, without a model."""
        self._speeches.add((part.span.id, part.number))

    def returned(self, span: AgentSpan, outputs: Any) -> bool:
        """Judge a span whose task has returned.

        Return whether the task returned one of the span's texts as an answer.
        """
        if path_of(span.node) in self.shape.edgeless and not _goes_to(outputs):
            self._last.add(span.node)
        if span.node and not span.is_task:
            self._say_reply(span, storable(reply_text(outputs)))
        return (
            span.channel == "answer" and span.label.channel is None and self._judge(span, outputs)
        )

    def _say_reply(self, span: AgentSpan, text: str) -> None:
        """Show the text that a node returns, unless it was shown already."""
        shown = {str(own).strip() for own in self._texts if self._is_inside(own, span)}
        shown.add(self._texts.of_span(span.id).strip())
        if not text or text == span.received or text.strip() in shown:
            return
        part = Part(span, span.channel, span.node)
        self._spans.say(part, text)
        self._spans.end(part)

    def _judge(self, span: AgentSpan, outputs: Any) -> bool:
        """Take back the texts that turn out not to be the answer, given the result of a task.

        Return whether the task has returned one of its texts as an answer.
        """
        standing = self._texts.answering()
        own = [text for text in standing if self._is_inside(text, span)]
        if not own:
            return False
        outcome = Outcome(outputs)
        whole = outcome.answers(joined(own))
        meant = [text for text in own if whole or text.key in self._speeches]
        stays = [text for text in own if text in meant or outcome.holds(str(text))]
        gone = [text for text in own if text not in stays]
        answered = bool(meant) or any(outcome.answers(str(text)) for text in stays)
        before = [text for text in standing if self._went_on(text, stays, span)]
        if not answered and any(text.returned for text in before):
            gone += stays  # a remark about the answer, not an answer
        else:
            gone += before
        if gone:
            self._spans.queue(span, self._no_answer(gone))
        return answered

    def _went_on(self, text: Text, later: Sequence[Text], span: AgentSpan) -> bool:
        """Whether the work went on from a text to one of those of a span that has ended now."""
        if text.calls_tools or not text.ended or not text.node or self._is_inside(text, span):
            return False
        return any(self.shape.goes_on(text.node, each.node, self._last) for each in later)

    def _is_inside(self, text: Text, span: AgentSpan) -> bool:
        """Whether a text belongs to a span, or to one that it encloses."""
        return self._texts.is_inside(text.key[0], span.id)

    def _no_answer(self, texts: Sequence[Text]) -> RunAttempt:
        superseded = Superseded(
            after=self._spans.after([text.key[0] for text in texts]),
            agents=sorted({text.agent for text in texts}),
            spans=[],
            texts=[TextRef(span=text.key[0], part=text.key[1]) for text in texts],
        )
        return self._spans.attempt(NO_ANSWER, superseded)

    def settle(self, expected: Sequence[str], author: str) -> None:
        """Make exactly the expected texts stand, after the graph has ended with them.

        `author` is shown as the agent of those that have not been shown yet.
        """
        standing = self._texts.answering()
        if joined(standing).strip() == joined(expected).strip():
            return
        kept = _kept(standing, expected)
        if gone := [text for text in standing if text not in kept]:
            self._spans.writer.emit(self._no_answer(gone))
        shown = {str(text).strip() for text in kept}
        missing = [text for text in expected if text.strip() not in shown]
        if missing:
            self._say_finally(missing, author)

    def _say_finally(self, texts: Sequence[str], author: str) -> None:
        """Show the rest of the answer in a span of its own."""
        span = self._spans.new(author)
        self._spans.writer.emit(AgentStart(span=span.id, agent=author))
        for text in texts:
            part = Part(span, "answer", "")
            self._spans.say(part, text)
            self._spans.end(part)
        self._spans.writer.emit(self._spans.completion(span, None))


def _kept(standing: Sequence[Text], expected: Sequence[str]) -> list[Text]:
    """Return the texts that are the beginning of what is expected; of equal texts the last one.

    Empty if the order differs or something is missing in between: then all must be shown anew.
    """
    wanted = [text.strip() for text in expected]
    missing = Counter(wanted)
    kept: list[Text] = []
    for text in reversed(standing):
        words = str(text).strip()
        if missing[words] > 0:
            missing[words] -= 1
            kept.insert(0, text)
    in_order = [str(text).strip() for text in kept] == wanted[: len(kept)]
    return kept if in_order else []


def _goes_to(outputs: Any) -> bool:
    """Whether a node's return value names the next node."""
    commands = outputs if isinstance(outputs, list | tuple) else [outputs]
    return any(isinstance(each, Command) and each.goto for each in commands)
