"""The texts of a reply: what agents have said, told apart, and what of it stands. Pure.

A *text* is what one model call says, or what a node says by itself: part `n` of a span. Several
texts may stand at the end (a preamble, a tool call, the answer); they are joined by a blank line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AgentTextEnd,
    AnyEvent,
    Superseded,
)

GAP = "\n\n"
"""What stands between two texts of one reply."""

Key = tuple[str, int]
"""`(span, part)`: what identifies a text in a run."""


class Text:
    """One text as it stands so far."""

    def __init__(self, key: Key, agent: str, channel: str) -> None:
        self.key = key
        self.agent = agent
        self.channel = channel
        self.node = ""
        self.calls_tools = False
        self.ended = False
        """Whether nothing more of it can come."""
        self.settled = False
        """Whether its span has ended, so that its outcome is known."""
        self.returned = False
        """Whether the node that said it has returned it as an answer."""
        self.past = False
        """Whether it belongs to an earlier reply of the run, before the human's last answer."""
        self.length = 0
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        """Append a piece."""
        self._pieces.append(piece)
        self.length += len(piece)

    def __str__(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""


class Texts:
    """The texts of a run that stand, in the order in which they began."""

    def __init__(self) -> None:
        self._texts: dict[Key, Text] = {}
        self._parents: dict[str, str] = {}
        self._passing: set[str] = set()
        """Spans of nodes after which another node has to run."""

    def __iter__(self) -> Iterator[Text]:
        return iter(self._texts.values())

    def see(self, event: AnyEvent) -> None:
        """Take the next event of the run."""
        match event:
            case AgentChunk(channel="answer" | "draft"):
                self.text_of(event).add(event.text)
            case AgentTextEnd() if text := self._texts.get((event.span, event.part)):
                text.ended, text.node = True, event.node
                text.calls_tools = event.calls_tools
            case AgentStart():
                if event.parent is not None:
                    self._parents[event.span] = event.parent
                if event.passing:
                    self._passing.add(event.span)
            case AgentComplete():
                self._settle(event.span, answered=event.answered)
            case AgentError():
                self._settle(event.span)

    def text_of(self, chunk: AgentChunk) -> Text:
        """The text that a chunk belongs to."""
        key = (chunk.span, chunk.part)
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = Text(key, chunk.agent, chunk.channel)
        return text

    def _settle(self, span: str, *, answered: bool = False) -> None:
        for text in self._texts.values():
            if text.key[0] == span:
                text.ended = text.settled = True
            if self.is_inside(text.key[0], span):
                text.returned = answered

    def is_inside(self, inner: str | None, span: str) -> bool:
        """Whether a span is another one, or was begun inside it."""
        while inner is not None and inner != span:
            inner = self._parents.get(inner)
        return inner is not None

    def drop(self, superseded: Superseded) -> list[Text]:
        """Forget what was superseded, and return it."""
        spans = set(superseded.spans)
        parts = {(text.span, text.part) for text in superseded.texts}
        keys = [key for key in self._texts if key[0] in spans or key in parts]
        return [self._texts.pop(key) for key in keys]

    def divide(self) -> None:
        """Begin another reply: what was said so far belongs to the one before."""
        for text in self._texts.values():
            text.past = True

    def of_span(self, span: str) -> str:
        """What a span has said, as it stands."""
        return joined(text for text in self if text.key[0] == span)

    def answering(self) -> list[Text]:
        """The texts that are the answer as it stands."""
        return [text for text in self if text.channel == "answer" and text.length and not text.past]

    @property
    def answer(self) -> str:
        """The answer as it stands."""
        return joined(self.answering())

    def presentable(self) -> list[Text]:
        """The texts of the answer that a client which cannot take text back is shown.

        Each but the last is complete. A text of a node after which others have to run waits for the
        end of the run; a text of another agent than the one before waits until its agent is done,
        because only then it is known which of the two is the answer.
        """
        shown: list[Text] = []
        for text in self.answering():
            if text.key[0] in self._passing:
                continue
            if shown and not _follows(shown[-1], text):
                break
            shown.append(text)
            if not text.ended:
                break
        return shown


def _follows(before: Text, text: Text) -> bool:
    """Whether a text surely stands after the one before."""
    same_agent = before.key[0] == text.key[0]
    return before.calls_tools or same_agent or text.settled


def joined(texts: Iterable[Text | str]) -> str:
    """Texts as one."""
    return GAP.join(filter(None, map(str, texts)))
