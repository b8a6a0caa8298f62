"""What the frames of a run must be like:

the order that each vocabulary declares, and what its texts add up to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect, TurnPaths

Frames = Sequence[dict[str, Any]]
STEPS = ["starting", "agent_routing", "rag_retrieval", "generating"]
TERMINAL = {"run_complete", "run_error", "run_cancelled"}


def check_run(dialect: Dialect, frames: Sequence[Any], *, superseded: bool = False) -> None:
    """The frames of a run are in order, and what a client appends is the whole; raw texts stand as they are.

    `superseded` if text that was shown was replaced by another one.
    """
    check_turns(dialect, frames, superseded=superseded)
    more = MORE.get(dialect.name)
    if more is not None:
        more(frames, superseded)


def check_turns(dialect: Dialect, frames: Sequence[Any], *, superseded: bool = False) -> None:
    """The same of any turns of a run."""
    for turn in turns(dialect, frames):
        if dialect.reading is not None and not superseded:
            _check_text(dialect.reading, [frame for frame in turn if isinstance(frame, dict)])


def turns(dialect: Dialect, frames: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The turns of a run, which a question to the human divides."""
    words = "".join(f"{frame if isinstance(frame, str) else frame['type']} " for frame in frames)
    assert re.fullmatch(f"(?:{dialect.order})+", words), words
    begin = 0
    for turn in re.finditer(dialect.order, words):
        end = begin + turn[0].count(" ")
        yield frames[begin:end]
        begin = end


def _check_text(reading: TurnPaths, turn: Frames) -> None:
    whole, question = last_at(reading.whole, turn), last_at(reading.question, turn)
    failed = any("error" in frame["type"] for frame in turn)
    if whole is not None and not failed and (reading.asks_in_pieces or question is None):
        assert pieces(reading, turn) == whole


def pieces(reading: TurnPaths, frames: Frames) -> str:
    """What a client has that appends every piece of the answer."""
    own = [
        frame for frame in frames if reading.aside is None or inner(frame, reading.aside) is None
    ]
    return "".join(at(reading.piece, frame) or "" for frame in own)


def last_at(path: str | None, frames: Frames) -> Any:
    """What the last frame that has it has at a path."""
    values = [at(path, frame) for frame in frames] if path is not None else []
    return next((value for value in reversed(values) if value is not None), None)


def at(path: str, frame: dict[str, Any]) -> Any:
    """What a frame has at `<type>.<field>.…`."""
    kind, _, fields = path.partition(".")
    return inner(frame, fields) if frame["type"] == kind else None


def inner(value: Any, fields: str) -> Any:
    for field in fields.split("."):
        value = value.get(field) if isinstance(value, dict) else None
    return value


# -- what order alone does not say -----------------------------------------------------------------


def _more_native(frames: Frames, superseded: bool) -> None:
    """Every span ends once; an agent's text is the sum of its standing chunks."""
    assert frames[0]["type"] == "run_start"
    assert not TERMINAL & {frame["type"] for frame in frames[:-1]}
    assert [frame["seq"] for frame in frames] == sorted({frame["seq"] for frame in frames})
    texts: dict[str, dict[int, str]] = {}
    lost: set[str] = set()
    for frame in frames:
        match frame["type"]:
            case "agent_start":
                assert frame["span"] not in texts
                texts[frame["span"]] = {}
            case "agent_chunk" if frame.get("channel") != "reasoning":
                parts, part = texts[frame["span"]], frame.get("part", 0)
                parts[part] = parts.get(part, "") + frame["text"]
            case "run_attempt":
                spans = frame["supersedes"]["spans"]
                texts.update({span: {} for span in spans})
                for text in frame["supersedes"].get("texts", ()):
                    texts.get(text["span"], {}).pop(text.get("part", 0), None)
                lost.update(spans if frame["reason"] == "recovered" else [])
            case "agent_complete":
                assert "\n\n".join(texts.pop(frame["span"]).values()) == frame["text"]
            case "agent_error":
                del texts[frame["span"]]
    assert set(texts) <= lost


def _more_chat(frames: Frames, superseded: bool) -> None:
    """The four steps in order and none left out before a token; tokens add up to what is repeated."""
    for turn in turns(DIALECTS["chat"], frames):
        shown = ""
        steps = [frame["step"] for frame in turn if frame["type"] == "progress"]
        assert steps == STEPS[: len(steps)]
        for frame in turn:
            if frame["type"] == "token":
                assert frame["token"]
                shown += frame["token"]
                assert frame["partial_response"] == shown
        last = turn[-1]
        assert len(steps) == len(STEPS) or not (shown or last["type"] == "complete")
        if last["type"] == "error":
            assert last["error"]
            assert last["code"] in {"PROCESSING_ERROR", "CANCELLED"}
            continue
        assert set(last) >= {"response", "session_id", "metadata"}
        if "interrupt" not in last["metadata"]:
            assert isinstance(last["metadata"]["confidence"], float)
            assert all(isinstance(source, str) for source in last["metadata"]["context"]["sources"])


def _more_multi_agent(frames: Frames, superseded: bool) -> None:
    """Progress first and never back, 1.0 before `complete`, which is not empty and repeats the
    interactions.
    """
    assert frames[0]["type"] == "progress"
    values = [frame["progress"] for frame in frames if frame["type"] == "progress"]
    assert values == sorted(values)
    assert 0 <= values[0] <= values[-1] <= 1
    assert all(frame["message"] for frame in frames if frame["type"] == "progress")
    for *before, last in turns(DIALECTS["multi_agent"], frames):
        if last["type"] == "complete":
            _check_complete(before, last, superseded)
        else:
            assert last["agent"] is None
    for frame in frames:
        if frame["type"] == "agent_chunk":
            assert frame["chunk"]
            assert frame["chunk"] == frame["content"]
        if frame["type"] == "error":
            assert isinstance(frame["recoverable"], bool)
            assert frame["error"]
            assert frame["code"]


def _check_complete(before: Frames, last: dict[str, Any], superseded: bool) -> None:
    assert last["response"]
    shown = [
        (frame["from_agent"], frame["to_agent"], frame["query"])
        for frame in before
        if frame["type"] == "interaction"
    ]
    repeated = [(one["from_agent"], one["to_agent"], one["query"]) for one in last["interactions"]]
    assert repeated[len(repeated) - len(shown) :] == shown
    if "interrupt" in last["metadata"]:
        return
    if last["metadata"].get("partial"):
        assert before[-1]["type"] == "error"
        return
    assert [frame["progress"] for frame in before if frame["type"] == "progress"][-1] == 1.0
    chunks = [f["chunk"] for f in before if f["type"] == "agent_chunk" and not f.get("internal")]
    assert superseded or "".join(chunks) == last["response"]


def _more_flows(frames: Frames, superseded: bool) -> None:
    """Elements start before they complete; the output is said twice, and its elements are in the
    order.
    """
    open_elements: list[str] = []
    said = ""
    for frame in frames:
        kind, data = frame["type"], frame["data"]
        assert isinstance(frame["timestamp"], float)
        match kind:
            case "status":
                assert data["message"]
            case "element_started":
                open_elements.append(data["element_id"])
            case "element_completed":
                open_elements.remove(data["element_id"])
            case "final_output":
                said = data["text_output"]
            case "flow_completed":
                assert superseded or said == data["final_output"]["text_output"]
                assert set(data["element_outputs"]) <= set(data["execution_order"])


def _more_threads(frames: Frames, superseded: bool) -> None:
    """The last `ai_response` of a turn is empty and has the whole; every stream says how it went."""
    for turn in turns(DIALECTS["threads"], frames):
        responses = [frame["data"] for frame in turn if frame["type"] == "ai_response"]
        failed = "error" in {frame["type"] for frame in turn}
        outcome = turn[-1]["data"]
        assert outcome == ({"success": False, "error": True} if failed else {"success": True})
        for data in responses if failed else responses[:-1]:
            assert data["content"]
            assert not data["isComplete"]
            assert "accumulated" not in data
        if not failed:
            assert responses[-1]["isComplete"]
            assert responses[-1]["content"] == ""
    for frame in frames:
        data = frame["data"]
        match frame["type"]:
            case "workflow_status":
                assert data["status"] in {"created", "running", "transition", "step_completed"}
                assert data["message"]
            case "error":
                assert data["error"] == data["message"] != ""
                assert data["code"]


def _more_sessions(frames: Frames, superseded: bool) -> None:
    """`start` and `end` have the same id."""
    ids = [frame["messageId"] for frame in frames if "messageId" in frame]
    assert all(start == end for start, end in zip(ids[::2], ids[1::2], strict=False))
    for frame in frames:
        if frame["type"] == "token":
            assert frame["content"]
        if frame["type"] == "error":
            assert frame["error"]
            assert frame["code"]


MORE: dict[str, Callable[[Frames, bool], None]] = {
    "native": _more_native,
    "flows": _more_flows,
    "chat": _more_chat,
    "multi_agent": _more_multi_agent,
    "threads": _more_threads,
    "sessions": _more_sessions,
}


def check_native(frames: Frames, *, superseded: bool = False) -> None:
    check_run(DIALECTS["native"], frames, superseded=superseded)


def check_chat(frames: Frames, *, superseded: bool = False) -> None:
    check_run(DIALECTS["chat"], frames, superseded=superseded)


def check_multi_agent(frames: Frames, *, superseded: bool = False) -> None:
    check_run(DIALECTS["multi_agent"], frames, superseded=superseded)


def check_flows(frames: Frames, *, superseded: bool = False) -> None:
    check_run(DIALECTS["flows"], frames, superseded=superseded)


def check_threads(frames: Frames, *, superseded: bool = False) -> None:
    check_run(DIALECTS["threads"], frames, superseded=superseded)


def check_sessions(frames: Frames, *, superseded: bool = False) -> None:
    check_run(DIALECTS["sessions"], frames, superseded=superseded)
