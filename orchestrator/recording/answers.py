"""Which texts are the answer: decided by what nodes return, and by what the graph ends with.

Texts stream as they come. When a node's task is done, those that it does not return are taken back;
those that it returns as an answer take back earlier ones whose work went on to it. When the graph has
ended, its output decides. `docs/graphs.md` has the rules.
"""

from __future__ import annotations

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
    """Judges the texts of one execution of a run."""

    def __init__(self, spans: Spans, shape: GraphShape) -> None:
        self.shape = shape
        self._spans = spans
        self._texts = spans.writer.view.texts
        self._last: set[str] = set()
        """Places of tasks after which nothing ran: their nodes have no edge and returned no command."""
        self._speeches: set[Key] = set()
        """Texts that nodes said by themselves: they mean them for the reader."""

    def speak(self, part: Part) -> None:
        """Note that a text is said by a node itself."""
        self._speeches.add((part.span.id, part.number))

    def returned(self, span: AgentSpan, outputs: Any) -> bool:
        """Judge a span whose task has returned. Return whether it returned one of its texts as an answer."""
        if path_of(span.node) in self.shape.edgeless and not _goes_to(outputs):
            self._last.add(span.node)
        if span.node and not span.is_task:
            self._say_reply(span, storable(reply_text(outputs)))
        return (
            span.channel == "answer" and span.label.channel is None and self._judge(span, outputs)
        )

    def _say_reply(self, span: AgentSpan, text: str) -> None:
        """Show what a node answers by what it returns, unless it was shown already."""
        shown = [str(one) for one in self._texts if self._is_inside(one, span)]
        whole = self._texts.of_span(span.id)
        if (
            not text
            or text == span.given
            or text.strip() in {one.strip() for one in [*shown, whole]}
        ):
            return
        part = Part(span, span.channel, span.node)
        self._spans.say(part, text)
        self._spans.end(part)

    def _judge(self, span: AgentSpan, outputs: Any) -> bool:
        """Take back which texts turned out to be no answer, now that a task has returned its result.

        Return whether the task has returned one of its texts as an answer.
        """
        standing = self._texts.answering()
        own = [text for text in standing if self._is_inside(text, span)]
        if not own:
            return False
        outcome = Outcome(outputs)
        whole = outcome.answers(joined(own))
        gone = [
            text
            for text in own
            if not (whole or text.key in self._speeches or outcome.holds(str(text)))
        ]
        stays = [text for text in own if text not in gone]
        answered = whole or any(
            text.key in self._speeches or outcome.answers(str(text)) for text in stays
        )
        before = [
            text for text in standing if any(self._went_on(text, later, span) for later in stays)
        ]
        if not answered and any(text.returned for text in before):
            gone += stays  # a remark about the answer, not an answer
        else:
            gone += before
        if gone:
            self._spans.queue(span, self._no_answer(gone))
        return answered

    def _went_on(self, text: Text, later: Text, span: AgentSpan) -> bool:
        """Whether the work that a text came from went on to a later text of a span that has ended."""
        if text.calls_tools or not text.ended or not text.node or self._is_inside(text, span):
            return False
        return self.shape.goes_on(text.node, later.node, self._last)

    def _is_inside(self, text: Text, span: AgentSpan) -> bool:
        """Whether a text was said in a span, or in one that it encloses."""
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
        """Make exactly the expected texts stand, when the graph has ended with them.

        `author` is shown as the agent of texts that nobody has said yet.
        """
        standing = self._texts.answering()
        if joined(standing).strip() == joined(expected).strip():
            return
        wanted = [text.strip() for text in expected]
        kept: list[Text] = []
        for text in reversed(standing):  # of equal texts the last one
            if wanted.count(str(text).strip()) > sum(
                str(one).strip() == str(text).strip() for one in kept
            ):
                kept.insert(0, text)
        said = [str(text).strip() for text in kept]
        if said != wanted[: len(kept)]:
            kept, said = (
                [],
                [],
            )  # something is missing before what stands, or it stands in another order
        if gone := [text for text in standing if text not in kept]:
            self._spans.writer.emit(self._no_answer(gone))
        missing = [text for text, known in zip(expected, wanted, strict=True) if known not in said]
        if missing:
            self._say_finally(missing, author)

    def _say_finally(self, texts: Sequence[str], author: str) -> None:
        span = self._spans.new(author)
        self._spans.writer.emit(AgentStart(span=span.id, agent=author))
        for text in texts:
            part = Part(span, "answer", "")
            self._spans.say(part, text)
            self._spans.end(part)
        self._spans.writer.emit(self._spans.completion(span, None))


def _goes_to(outputs: Any) -> bool:
    """Whether a node's return value says which node is next."""
    commands = outputs if isinstance(outputs, list | tuple) else [outputs]
    return any(isinstance(one, Command) and one.goto for one in commands)
