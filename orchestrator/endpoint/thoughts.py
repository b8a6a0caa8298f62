"""Separate a model's visible thinking from its answer, if it writes both into one text. Pure."""

from __future__ import annotations

OPENING = ("<think>", "<thinking>")
CLOSING = ("</think>", "</thinking>")


class Thoughts:
    """Splits a streamed text at `<think>` and `</think>`, wherever the pieces are cut.

    A thought begins only where nothing of the answer has been written yet: later on, `<think>` is
    what the answer is about. White space around thoughts belongs to neither.
    """

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._answering = False

    def feed(self, text: str) -> tuple[str, str]:
        """Return `(thought, answer)`: what a piece adds to either."""
        if self._answering:
            return "", text
        self._held += text
        thought = ""
        while True:
            if self._thinking:
                end = _first(self._held, CLOSING)
                if end is None:
                    kept = _begun(self._held, CLOSING)
                    thought += self._held[: len(self._held) - kept]
                    self._held = self._held[len(self._held) - kept :]
                    return thought, ""
                thought += self._held[: end[0]]
                self._held, self._thinking = self._held[end[1] :], False
            rest = self._held.lstrip()
            opening = _prefix(rest, OPENING)
            if opening is None:
                break
            self._held, self._thinking = rest[len(opening) :], True
        if not rest or any(tag.startswith(rest) for tag in OPENING):
            return thought, ""
        return thought, self._answer()

    def close(self) -> tuple[str, str]:
        """Return what was held back, at the end of the text."""
        if self._thinking:
            held, self._held = self._held, ""
            return held, ""
        return "", "" if self._answering or not self._held.strip() else self._answer()

    def _answer(self) -> str:
        self._answering = True
        answer, self._held = self._held, ""
        return answer.lstrip("\n") if answer[:1] == "\n" else answer


def _first(text: str, tags: tuple[str, ...]) -> tuple[int, int] | None:
    """Begin and end of the first of some tags."""
    places = [(text.find(tag), tag) for tag in tags]
    starts = [(start, start + len(tag)) for start, tag in places if start >= 0]
    return min(starts, default=None)


def _prefix(text: str, tags: tuple[str, ...]) -> str | None:
    return next((tag for tag in tags if text.startswith(tag)), None)


def _begun(text: str, tags: tuple[str, ...]) -> int:
    """How many of the last characters may be the beginning of a tag."""
    longest = max(map(len, tags)) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(tag.startswith(text[-size:]) for tag in tags):
            return size
    return 0
