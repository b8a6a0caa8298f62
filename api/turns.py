"""Which run a WebSocket shows, and which come after it: turns, without a socket. Pure.

Clients of a serial vocabulary cannot distinguish the frames of two runs, so their runs are shown
one after the other. With other vocabularies runs are shown side by side, and nothing takes turns.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar

from antiphon.api.dialects.words import Resume
from antiphon.api.problems import Problem

WAITING = 8
"""Messages that may wait for their turn on one connection of a serial vocabulary."""
_SEQ = re.compile(r"\d{1,15}(\.\d{1,2})?", re.ASCII)


class AnyRun(Protocol):
    """What turns need of a run: see `antiphon.orchestrator.engine.run.Run`."""

    @property
    def id(self) -> str:
        """The run's id."""

    @property
    def first_seq(self) -> int:
        """A number below those of its events."""

    @property
    def answered(self) -> int:
        """The number of the question that a message answered; 0 if the message began the run."""

    @property
    def queued(self) -> bool:
        """Whether an earlier run of its thread had to end first."""


R = TypeVar("R", bound=AnyRun)


class Showing(NamedTuple, Generic[R]):
    """A run, to be shown after a number of its frames."""

    run: R
    after: float


class Turns(Generic[R]):
    """The runs of one connection."""

    def __init__(self) -> None:
        self.showing: Showing[R] | None = None
        self.begun = False
        """Whether a frame of the run that is shown was sent, or is about to be."""
        self._waiting: deque[Showing[R]] = deque()
        self._last: Showing[R] | None = None
        """The run whose frame was sent last, and the number of that frame."""
        self._stopped: str | None = None
        """The run that the client stopped while it was shown."""

    @property
    def current(self) -> R | None:
        """The run that is shown, or the next one; None if there is none."""
        if self.showing is not None:
            return self.showing.run
        return self._waiting[0].run if self._waiting else None

    def check_room(self) -> None:
        """Raise `Problem` BUSY if too many messages wait already."""
        if len(self._waiting) >= WAITING:
            raise Problem("BUSY", f"{WAITING} messages are waiting already.")

    def add(self, run: R, after: float) -> bool:
        """Queue a run; return whether the one that is shown has to give way.

        A run that goes on after an answer comes first: the messages that are queued already wait
        for its end.
        """
        if not run.answered:
            self._waiting.append(Showing(run, after))
            return False
        self._waiting.appendleft(Showing(run, after))
        return self.showing is not None and not self.begun

    def begin(self) -> Showing[R] | None:
        """Return the next run, which is shown from now on; None if nothing waits."""
        self.begun = False
        self.showing = self._waiting.popleft() if self._waiting else None
        return self.showing

    def sent(self, seq: float) -> None:
        """Note that the run that is shown was sent up to this number."""
        if self.showing is not None:
            self._last = Showing(self.showing.run, seq)

    def end(self, *, gave_way: bool = False) -> None:
        """Note that the run that is shown has come to its end, or gave way to the next one.

        A run that the client stopped is shown again from where it was: its terminal event may come
        after the question that seemed to be its end.
        """
        shown, self.showing = self.showing, None
        stopped, self._stopped = self._stopped, None
        if shown is None:
            return
        if gave_way:
            self._waiting.insert(1, shown)
        if self._last is not None and stopped == shown.run.id == self._last.run.id:
            self._waiting.appendleft(self._last)

    def must_wait(self, seqs: Iterable[float]) -> bool:
        """Return whether frames of the run that is shown are to be held back.

        They are if the run was only accepted while an earlier run of its thread goes on: that one
        may still ask a question, and the frames that follow the answer come first.
        """
        if self.showing is None or self.begun or not self.showing.run.queued:
            return False
        accepted = self.showing.run.first_seq + 1
        return all(seq <= accepted for seq in seqs)

    def to_cancel(self) -> str | None:
        """Return the id of the run that a `cancel` without one is for; it may be one that waits."""
        run = self.current
        if run is None and self._last is not None:
            run = self._last.run
        return run.id if run is not None else None

    def cancelled(self, run_id: str) -> Showing[R] | None:
        """Note that the client stopped a run; return it if it has to be queued again.

        That is so if it was shown up to a question and then left: its terminal event is still due.
        """
        current = self.current
        if current is not None and current.id == run_id:
            self._stopped = run_id
        elif self._last is not None and self._last.run.id == run_id:
            return self._last
        return None


def coming_back(run_id: str, sent: float, last_seq: str) -> Resume:
    """Return where a connection goes on if an earlier one with the same id broke off.

    It goes on after `last_seq` of the address, or else after `sent`, the last frame that was sent.
    A crash loses `sent` of runs that were not shown to their end; those are shown from their
    beginning, because a client that cannot name its place had better see them twice than wait.
    """
    after = float(last_seq) if _SEQ.fullmatch(last_seq) else sent
    return Resume(run_id=run_id, after=after)
