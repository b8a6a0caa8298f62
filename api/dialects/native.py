"""Our own vocabulary: the recorded events themselves, with their place in the log."""

from __future__ import annotations

from typing import Any

import msgspec

from api.auth import Principal
from api.dialects.base import (
    AnswerQuestion,
    Ask,
    Cancel,
    Command,
    Frame,
    Leave,
    Login,
    Ping,
    Resume,
    name_field,
    names_field,
    number_field,
    text_field,
)
from api.problems import Problem
from orchestrator.events import Recorded


class _NativeFold:
    def feed(self, recorded: Recorded) -> list[Frame]:
        """The event, flat, behind its envelope."""
        envelope = {
            "thread_id": recorded.thread_id,
            "seq": recorded.seq,
            "run_id": recorded.run_id,
            "attempt": recorded.attempt,
            "at": recorded.at,
        }
        return [Frame(event=recorded.event.type, data=envelope | msgspec.to_builtins(recorded.event))]


class Native:
    """Everything that happens, as it is recorded."""

    name = "native"
    serial = False

    def fold(self) -> _NativeFold:
        """A fresh fold."""
        return _NativeFold()

    def read(self, frame: dict[str, Any]) -> Command:
        """`auth`, `message`, `resume`, `cancel`, `answer`, `ping`."""
        match frame.get("type"):
            case "auth":
                return Login(token=str(frame.get("token") or ""))
            case "message":
                return read_ask(frame)
            case "resume":
                run_id, thread_id = name_field(frame, "run_id"), name_field(frame, "thread_id")
                if (run_id is None) == (thread_id is None):
                    raise Problem("BAD_REQUEST", "resume takes either run_id or thread_id.")
                return Resume(run_id=run_id, thread_id=thread_id, after=number_field(frame, "after"))
            case "cancel":
                return Cancel(run_id=name_field(frame, "run_id"))
            case "answer":
                run_id = name_field(frame, "run_id")
                if run_id is None or "answer" not in frame:
                    raise Problem("BAD_REQUEST", "answer takes run_id and answer.")
                return AnswerQuestion(run_id=run_id, answer=frame["answer"])
            case "ping":
                return Ping()
            case "disconnect":
                return Leave()
        raise Problem("UNKNOWN_TYPE", "There is no such message type.")

    def welcome(self, connection_id: str, principal: Principal, asked: bool, at: int) -> dict[str, Any] | None:
        """`auth_success`."""
        return {"type": "auth_success", "user": {"id": principal.id}, "at": at} if asked else None

    def refused(self, problem: Problem, at: int) -> dict[str, Any]:
        """`auth_error`."""
        return {"type": "auth_error", "code": problem.code, "message": problem.message, "at": at}

    def pong(self, at: int) -> dict[str, Any]:
        """`pong`."""
        return {"type": "pong", "at": at}

    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """`error`."""
        return {"type": "error", "code": problem.code, "message": problem.message, "at": at}

    def reset(self, first: int, last: int, at: int) -> dict[str, Any]:
        """`stream_reset`."""
        return {"type": "stream_reset", "first": first, "last": last, "at": at}


def read_ask(frame: dict[str, Any]) -> Ask:
    """A message of the native wire, over HTTP or WebSocket. Raises `Problem`."""
    agents = frame.get("agents")
    if agents is not None and not isinstance(agents, dict):
        raise Problem("BAD_REQUEST", "agents must be an object with primary and supporting.")
    on_busy: Any = frame.get("on_busy") or "enqueue"
    if on_busy not in ("enqueue", "reject", "interrupt", "rollback"):
        raise Problem("BAD_REQUEST", "on_busy must be enqueue, reject, interrupt or rollback.")
    return Ask(
        message=text_field(frame, "message") if "message" in frame else "",
        thread_id=name_field(frame, "thread_id"),
        graph=name_field(frame, "graph"),
        primary=name_field(agents or {}, "primary"),
        supporting=names_field(agents or {}, "supporting"),
        mode=name_field(frame, "mode"),
        on_busy=on_busy,
        idempotency_key=name_field(frame, "idempotency_key"),
    )
