"""The answer as clients see it that cannot take text back. Pure."""

from __future__ import annotations

from typing import NamedTuple

from antiphon.orchestrator import events as ev
from antiphon.orchestrator.recording.texts import GAP, Text, Texts, joined


class News(NamedTuple):
    """A piece of the answer that a client lacks, and the agent and span that it is from."""

    span: str
    agent: str
    text: str


class ShownText:
    """The answer as a client sees it that cannot take text back, beside the answer as it is.

    Several texts are joined by a blank line. After a superseding event nothing is sent while the
    new text is only what was shown already; then the remainder goes out. Text that differs from
    what was shown is not sent at all: the final frame carries the whole. A question to a human
    divides the answer: what follows it is a message of its own.
    """

    def __init__(self) -> None:
        self.shown = ""
        self._texts = Texts()
        self._live: Text | None = None
        """The text that is shown up to its last piece, and goes on."""

    @property
    def text(self) -> str:
        """The answer as it stands, as far as it may be shown."""
        return joined(self._texts.presentable())

    def feed(self, event: ev.AnyEvent) -> list[News]:
        """Take an event; return what the client has to be sent of the answer now."""
        match event:
            case ev.AgentChunk(channel="answer"):
                self._texts.see(event)
                if self._live is not None and self._live.key == (event.span, event.part):
                    self.shown += event.text
                    return [News(event.span, event.agent, event.text)]
                return self._news()
            case ev.RunAttempt():
                self._texts.drop(event.supersedes)
                return self._news()
            case ev.InterruptAnswered():
                self.shown, self._texts, self._live = "", Texts(), None
            case ev.AgentStart():
                self._texts.see(event)
            case ev.AgentTextEnd() | ev.AgentComplete() | ev.AgentError():
                self._texts.see(event)
                return self._news()
        return []

    def final(self, event: ev.Interrupt | ev.RunComplete) -> str:
        """Return the whole message of a turn: the answer, or what came before a question and it."""
        if isinstance(event, ev.Interrupt):
            return joined([self._texts.answer, event.text])
        return event.text

    def rest(self, text: str) -> str:
        """Return what the client lacks of the final text; nothing if it was shown another one."""
        return text[len(self.shown) :] if text.startswith(self.shown) else ""

    def unsay(self, text: str) -> None:
        """Note that the end of what `feed` returned was not sent after all."""
        self.shown = self.shown.removesuffix(text)
        self._live = None

    def _news(self) -> list[News]:
        texts = self._texts.presentable()
        pieces = [GAP + str(text) if index else str(text) for index, text in enumerate(texts)]
        whole = "".join(pieces)
        self._live = None
        if not whole.startswith(self.shown):
            return []
        if texts and not texts[-1].ended:
            self._live = texts[-1]
        news, begin = [], 0
        for text, piece in zip(texts, pieces, strict=True):
            unsent = piece[max(len(self.shown) - begin, 0) :]
            begin += len(piece)
            if unsent:
                news.append(News(text.key[0], text.agent, unsent))
        self.shown = whole
        return news
