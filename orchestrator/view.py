"""What a run's events add up to: a fold, for the live run and for what the log says of an earlier attempt.

Pure. Feed it every event of a run in order; events that are not numbered yet have `seq` 0.
"""

from __future__ import annotations

from typing import Any

from orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AnyEvent,
    Hit,
    Interrupt,
    InterruptAnswered,
    Progress,
    RunAttempt,
    Sources,
    Superseded,
    Usage,
    WorkflowUpdate,
)


class RunView:
    """The state of a run so far."""

    def __init__(self) -> None:
        self.progress = 0.0
        self.attempt = 1
        self.order: list[str] = []
        """Agents in the order in which they began."""
        self.usage = Usage()
        self.hits: dict[str, Hit] = {}
        self.resume: dict[str, Any] | None = None
        """The human's answers by interrupt id, once given; none at a breakpoint, where any answer means to go on."""
        self.updates: set[WorkflowUpdate] = set()
        """What was told of a conversation in steps: each update comes once in a run, also when a node runs again."""
        self.waiting = False
        """Whether there is an open question."""
        self.reply_to: str | None = None
        """The human's last answer, as a message."""
        self._questions: tuple[str, ...] = ()
        self._open: dict[str, tuple[AgentStart, int]] = {}
        self._said: dict[str, str] = {}
        """Answers and drafts by span, as they stand."""
        self._answering: dict[str, None] = {}
        self._asking: dict[str, tuple[str, int]] = {}
        """Spans that ended with a question to a human, whose nodes begin anew with the answer."""

    def see(self, event: AnyEvent, seq: int = 0) -> None:
        """Take the next event."""
        match event:
            case AgentChunk(channel="answer" | "draft"):
                self._said[event.span] = self._said.get(event.span, "") + event.text
                if event.channel == "answer":
                    self._answering[event.span] = None
            case AgentStart():
                self._open[event.span] = (event, seq)
                self.order.append(event.agent)
            case AgentComplete():
                _, began = self._open.pop(event.span, (None, seq))
                self.usage += event.usage or Usage()
                if event.finish_reason == "interrupted":
                    self._asking[event.span] = (event.agent, began)
            case AgentError():
                self._open.pop(event.span, None)
            case RunAttempt():
                self.attempt = max(self.attempt, event.attempt)
                for span in event.supersedes.spans:
                    self._said.pop(span, None)
                    self._answering.pop(span, None)
                    self._asking.pop(span, None)
                    if event.reason == RECOVERED:
                        self._open.pop(span, None)
            case Progress():
                self.progress = max(self.progress, event.value)
            case Sources():
                self.hits.update({hit.id: hit for hit in event.hits})
            case Interrupt():
                self.waiting = True
                self._questions = () if event.reason == BREAKPOINT else tuple(event.questions) or (event.id,)
            case WorkflowUpdate():
                self.updates.add(event)
            case InterruptAnswered():
                self._answering.clear()  # what is said from now on is another message
                self.waiting = False
                self.reply_to = event.message_id
                self.resume = _by_question(self._questions, event.answer)

    @property
    def answer(self) -> str:
        """The text that was shown as the answer and still stands, since the human's last answer if there was one."""
        return "".join(self._said.get(span, "") for span in self._answering)

    def unfinished(self) -> Superseded:
        """What an attempt left half done: the text of these spans will be said anew."""
        return _superseded({span: (start.agent, seq) for span, (start, seq) in self._open.items()})

    def interrupted(self) -> Superseded:
        """What nodes had said before they asked a human: they begin anew with the answer."""
        return _superseded({span: at for span, at in self._asking.items() if span in self._said})

    def open_spans(self) -> list[AgentComplete]:
        """The completions that are missing, innermost first."""
        return [
            AgentComplete(span=start.span, agent=start.agent, role=start.role, text=self._said.get(start.span, ""))
            for start, _ in reversed(self._open.values())
        ]

    def cited(self, text: str) -> list[Hit]:
        """The passages whose document the text cites as `[uri]`, one per document, the first cited first."""
        found = {hit.uri: hit for hit in reversed(self.hits.values()) if hit.uri and f"[{hit.uri}]" in text}
        return sorted(found.values(), key=lambda hit: text.index(f"[{hit.uri}]"))


BREAKPOINT = "breakpoint"
"""The reason of an interrupt without a question: `interrupt_before` or `interrupt_after` of a compiled graph."""
RECOVERED = "recovered"
"""The reason of an attempt that begins after a crash, as opposed to a retry inside an attempt."""


def _superseded(spans: dict[str, tuple[str, int]]) -> Superseded:
    after = min((seq for _, seq in spans.values()), default=1) - 1
    return Superseded(after=max(after, 0), agents=sorted({agent for agent, _ in spans.values()}), spans=list(spans))


def _by_question(questions: tuple[str, ...], answer: Any) -> dict[str, Any]:
    """One answer for one question; for several, a dictionary by question id."""
    if len(questions) > 1 and isinstance(answer, dict) and set(answer) <= set(questions):
        return answer
    return dict.fromkeys(questions, answer)
