"""The texts of a reply: a fold of events into the texts that stand. Pure.

A *text* is the output of one model call, or what a node writes by itself: part `n` of a span.
Several texts may stand at the end (a preamble, a tool call, the answer); they are joined by a blank
line.
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
"""Separates two texts of one reply."""

Key = tuple[str, int]
"""`(span, part)`, which identifies a text in a run."""


class Text:
    """One text as it stands so far."""

    def __init__(self, key: Key, agent: str, channel: str) -> None:
        self.key = key
        self.agent = agent
        self.channel = channel
        self.node = ""
        self.calls_tools = False
        self.ended = False
        """Whether it is complete."""
        self.settled = False
        """Whether its span has ended, so that it is known whether it was returned."""
        self.returned = False
        """Whether its node has returned it as an answer."""
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
        """Add the next event of the run."""
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
        """Return the text that a chunk belongs to; a new one if the chunk is its first."""
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
        """Return whether a span is another one, or began inside it."""
        while inner is not None and inner != span:
            inner = self._parents.get(inner)
        return inner is not None

    def drop(self, superseded: Superseded) -> list[Text]:
        """Remove the superseded texts and return them."""
        spans = set(superseded.spans)
        parts = {(text.span, text.part) for text in superseded.texts}
        keys = [key for key in self._texts if key[0] in spans or key in parts]
        return [self._texts.pop(key) for key in keys]

    def divide(self) -> None:
        """Begin another reply; the texts so far belong to the one before."""
        for text in self._texts.values():
            text.past = True

    def of_span(self, span: str) -> str:
        """Return the texts of a span that stand, as one."""
        return joined(text for text in self if text.key[0] == span)

    def answering(self) -> list[Text]:
        """Return the texts that make up the answer as it stands."""
        return [text for text in self if text.channel == "answer" and text.length and not text.past]

    @property
    def answer(self) -> str:
        """The answer as it stands."""
        return joined(self.answering())

    def presentable(self) -> list[Text]:
        """Return the texts of the answer to show to a client that cannot take text back.

        Each but the last is complete. Texts of nodes after which others have to run are left out
        until the run ends. A text of another agent than the one before is left out until its agent
        is done, because only then is it known which of the two is the answer.
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
    """Whether a text is certain to stand after the one before it."""
    same_agent = before.key[0] == text.key[0]
    return before.calls_tools or same_agent or text.settled


def joined(texts: Iterable[Text | str]) -> str:
    """Join texts by a blank line, without the empty ones."""
    return GAP.join(filter(None, map(str, texts)))
