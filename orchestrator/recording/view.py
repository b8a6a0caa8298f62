"""The state of a run as a fold of its events, for a live run and for a stored one. Pure.

Feed it every event of a run in order; events that are not numbered yet have `seq` 0.
"""

from __future__ import annotations

from typing import Any

from antiphon.orchestrator.events import (
    AgentComplete,
    AgentError,
    AgentStart,
    AnyEvent,
    Custom,
    Hit,
    Interrupt,
    InterruptAnswered,
    Progress,
    RunAttempt,
    Sources,
    Superseded,
    ToolOrder,
    Usage,
    WorkflowUpdate,
)
from antiphon.orchestrator.recording.texts import Text, Texts


class RunView:
    """The state of a run so far."""

    def __init__(self) -> None:
        self.progress = 0.0
        self.attempt = 1
        self.order: list[str] = []
        """Agents in the order in which they began."""
        self._outermost = "graph"
        """The agent that began last without being inside another one."""
        self.usage = Usage()
        self.hits: dict[str, Hit] = {}
        self.resume: dict[str, Any] | None = None
        """The human's last answers by question, once given; empty to go on from a breakpoint."""
        self.updates: set[WorkflowUpdate] = set()
        """Updates of a conversation in steps; each is recorded once, also if a node runs again."""
        self.wrote = False
        """Whether the graph wrote something of its own to its stream."""
        self.asked: Interrupt | None = None
        """The last question, open or answered."""
        self.waiting = False
        """Whether it is open."""
        self.stopped = False
        """Whether the human ended the run at a breakpoint."""
        self.passed: set[str] = set()
        """Breakpoints that the human has approved, by their checkpoints."""
        self.tool_order: dict[str, ToolOrder] = {}
        """The order of what tool calls did, by task."""
        self.reply_to: str | None = None
        """The human's last answer, as a message."""
        self._open: dict[str, tuple[AgentStart, int]] = {}
        self._over: set[str] = set()
        self.texts = Texts()
        """Answers and drafts as they stand."""
        self.taken_back: dict[str, Text] = {}
        """Texts that were shown as an answer and then taken back, by their words."""
        self._asking: dict[str, tuple[str, int]] = {}
        """Spans that ended with a question to a human; their nodes begin anew with the answer."""

    def see(self, event: AnyEvent, seq: int = 0) -> None:
        """Add the next event."""
        self.texts.see(event)
        match event:
            case AgentStart():
                self._open[event.span] = (event, seq)
                self.order.append(event.agent)
                if event.parent is None:
                    self._outermost = event.agent
            case AgentComplete() | AgentError():
                self._see_end(event, seq)
            case RunAttempt():
                self._see_attempt(event)
            case Progress():
                self.progress = max(self.progress, event.value)
            case Sources():
                self.hits.update({hit.id: hit for hit in event.hits})
            case Custom():
                self.wrote = True
            case WorkflowUpdate():
                self.updates.add(event)
            case ToolOrder():
                self.tool_order[event.task] = event
            case Interrupt() | InterruptAnswered():
                self._see_question(event)

    def _see_end(self, event: AgentComplete | AgentError, seq: int) -> None:
        _, began = self._open.pop(event.span, (None, seq))
        self._over.add(event.span)
        if isinstance(event, AgentComplete):
            self.usage += event.usage or Usage()
            if event.finish_reason == "interrupted":
                self._asking[event.span] = (event.agent, began)

    def _see_attempt(self, event: RunAttempt) -> None:
        self.attempt = max(self.attempt, event.attempt)
        for text in self.texts.drop(event.supersedes):
            if text.channel == "answer":
                self.taken_back[str(text).strip()] = text
        for span in event.supersedes.spans:
            self._asking.pop(span, None)
            if event.reason == RECOVERED:
                self._open.pop(span, None)

    def _see_question(self, event: Interrupt | InterruptAnswered) -> None:
        if isinstance(event, Interrupt):
            self.waiting = True
            self.asked = event
        else:
            self.texts.divide()
            self.waiting = False
            self.reply_to = event.message_id
            self.resume = event.resume
            self.stopped = event.stops
            if not event.resume:
                self.passed.add(event.id)

    def is_late(self, event: AnyEvent) -> bool:
        """Return whether an event belongs to a span that is over, or to one that begins inside it.

        A tool that asks a human does not stop those beside it, which run on after their node has
        ended.
        """
        span = getattr(event, "span", None)
        begins_late = isinstance(event, AgentStart) and event.parent in self._over
        is_stopped = isinstance(event, AgentComplete) and event.finish_reason == "cancelled"
        if begins_late or (
            is_stopped and span not in self._open
        ):  # stopped in a thread before it was announced
            self._over.add(str(span))
        return span in self._over

    @property
    def answer(self) -> str:
        """The answer as it stands; after a question, what was said since the human answered."""
        return self.texts.answer

    def find(self, words: str) -> Text | None:
        """Return the text with these words: an answer or draft that stands, else one taken back."""
        words = words.strip()
        for text in self.texts:
            if str(text).strip() == words:
                return text
        return self.taken_back.get(words)

    def author_of(self, text: str) -> str:
        """Return the agent that said a text.

        If none did (a hook of middleware wrote it, or it is an output as JSON), return the
        outermost agent that began last: an agent inside a tool does not answer for the one that
        calls it.
        """
        known = self.find(text)
        return known.agent if known is not None else self._outermost

    def unfinished(self) -> Superseded:
        """Return what an attempt left half done: the spans whose text will be said anew."""
        return _superseded({span: (start.agent, seq) for span, (start, seq) in self._open.items()})

    def interrupted(self) -> Superseded:
        """Return what nodes said before they asked a human: they begin anew with the answer."""
        return _superseded(
            {span: at for span, at in self._asking.items() if self.texts.of_span(span)}
        )

    def open_spans(self) -> list[AgentComplete]:
        """Return the completions that are missing, innermost first."""
        return [
            AgentComplete(
                span=start.span,
                agent=start.agent,
                role=start.role,
                text=self.texts.of_span(start.span),
            )
            for start, _ in reversed(self._open.values())
        ]

    def cited(self, text: str) -> list[Hit]:
        """Return the passages whose document the text cites as `[uri]`.

        There is one for each document, in the order of the citations.
        """
        cited = {}
        for hit in reversed(self.hits.values()):
            if hit.uri and f"[{hit.uri}]" in text:
                cited[hit.uri] = hit
        return sorted(cited.values(), key=lambda hit: text.index(f"[{hit.uri}]"))


RESUMED = "resumed"
"""The reason of an attempt that begins with a human's answer."""
NO_ANSWER = "no_answer"
"""The reason of an attempt that takes back what turned out not to be the answer."""
RECOVERED = "recovered"
"""The reason of an attempt that begins after a crash, as opposed to a retry inside an attempt."""


def _superseded(spans: dict[str, tuple[str, int]]) -> Superseded:
    after = min((seq for _, seq in spans.values()), default=1) - 1
    return Superseded(
        after=max(after, 0),
        agents=sorted({agent for agent, _ in spans.values()}),
        spans=list(spans),
    )
