"""In which order the frames of a run may come, for each vocabulary: small automata over whole streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Frames = Sequence[dict[str, Any]]
STEPS = ["starting", "agent_routing", "rag_retrieval", "generating"]
TERMINAL = {"run_complete", "run_error", "run_cancelled"}


def check_native(frames: Frames, *, superseded: bool = False) -> None:
    """One terminal event, the last one; every span ends once; an agent's text is the sum of its standing chunks."""
    types = [frame["type"] for frame in frames]
    assert types[:2] == ["run_start", "message_saved"]
    assert not TERMINAL & set(types[:-1])
    assert types[-1] in {*TERMINAL, "interrupt"}
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


def check_chat(frames: Frames, *, superseded: bool = False) -> None:
    """S3: the four steps in order, then tokens, then `complete` or `error`; tokens add up to what is repeated."""
    turns = _turns(frames, {"complete", "error"})
    for turn in turns:
        shown = ""
        letters = "".join({"progress": "p", "token": "t", "complete": "c", "error": "e"}[f["type"]] for f in turn)
        assert re.fullmatch("p*t*[ce]", letters)
        steps = [frame["step"] for frame in turn if frame["type"] == "progress"]
        assert steps == STEPS[: len(steps)]
        for frame in turn:
            if frame["type"] == "token":
                assert frame["token"]
                shown += frame["token"]
                assert frame["partial_response"] == shown
        last = turn[-1]
        assert len(steps) == len(STEPS) or not (shown or last["type"] == "complete")
        if last["type"] == "complete":
            assert set(last) >= {"response", "session_id", "metadata"}
            if "interrupt" not in last["metadata"]:
                assert isinstance(last["metadata"]["confidence"], float)
                assert all(isinstance(source, str) for source in last["metadata"]["context"]["sources"])
                assert superseded or shown == last["response"]
        else:
            assert last["error"]
            assert last["code"] in {"PROCESSING_ERROR", "CANCELLED"}


def check_multi_agent(frames: Frames, *, superseded: bool = False) -> None:
    """S2: progress first and never back, 1.0 before `complete`, which is last and not empty; or `error`, then that."""
    assert frames[0]["type"] == "progress"
    told = [frame["progress"] for frame in frames if frame["type"] == "progress"]
    assert told == sorted(told)
    assert 0 <= told[0] <= told[-1] <= 1
    assert all(frame["message"] for frame in frames if frame["type"] == "progress")
    for turn in _turns(frames, {"complete"}):
        *before, last = turn
        assert "complete" not in {frame["type"] for frame in before}
        if last["type"] == "complete":
            _check_complete(before, last, superseded)
        else:
            assert last["type"] == "error"
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
    interactions = [frame for frame in before if frame["type"] == "interaction"]
    told = [(one["from_agent"], one["to_agent"], one["query"]) for one in last["interactions"]]
    assert told[len(told) - len(interactions) :] == [(i["from_agent"], i["to_agent"], i["query"]) for i in interactions]
    if "interrupt" in last["metadata"]:
        return
    if last["metadata"].get("partial"):
        assert before[-1]["type"] == "error"
        return
    assert [frame["progress"] for frame in before if frame["type"] == "progress"][-1] == 1.0
    chunks = [f["chunk"] for f in before if f["type"] == "agent_chunk" and not f.get("internal")]
    assert superseded or "".join(chunks) == last["response"]


def check_flows(frames: Frames, *, superseded: bool = False) -> None:
    """S0: status, `flow_started`, elements that start before they complete, `final_output`, `flow_completed`."""
    turn: list[str] = []
    open_elements: list[str] = []
    shown = said = ""
    for frame in frames:
        kind, data = frame["type"], frame["data"]
        assert isinstance(frame["timestamp"], float)
        if kind != "status":
            turn.append(kind)
        match kind:
            case "status":
                assert data["message"]
            case "element_started":
                open_elements.append(data["element_id"])
            case "element_completed":
                open_elements.remove(data["element_id"])
            case "llm_chunk":
                shown += data["content"] if "channel" not in data["metadata"] else ""
            case "flow_completed" | "flow_error":
                letters = "".join(LETTERS[one] for one in turn)
                assert re.fullmatch("s[aco]*(fe|x)", letters)
                turn = []
                if kind == "flow_completed":
                    assert superseded or shown == said == data["final_output"]["text_output"]
                    assert set(data["element_outputs"]) <= set(data["execution_order"])
                shown = ""
            case "final_output":
                said = data["text_output"]
    assert frames[0]["type"] == "status"
    assert turn == []


LETTERS = {
    "flow_started": "s",
    "element_started": "a",
    "element_completed": "o",
    "llm_chunk": "c",
    "final_output": "f",
    "flow_completed": "e",
    "flow_error": "x",
}


def check_threads(frames: Frames, *, superseded: bool = False) -> None:
    """S1: `connected`, `message_saved`, statuses and pieces, one last `ai_response`, `workflow_complete`, `done`."""
    letters = {"connected": "c", "message_saved": "m", "workflow_status": "s", "ai_response": "a", "error": "e"}
    letters |= {"workflow_complete": "w", "done": "d"}
    told = "".join("F" if f["data"].get("isComplete") else letters[f["type"]] for f in frames)
    assert re.fullmatch("(cm[sa]*Fd)*(cm[sa]*(Fw?d|ed))?", told), told
    shown = ""
    for frame in frames:
        data = frame["data"]
        match frame["type"]:
            case "connected":
                shown = ""
            case "ai_response" if data["isComplete"]:
                assert data["content"] == ""
                assert superseded or data["accumulated"] == shown
            case "ai_response":
                assert data["content"]
                assert "accumulated" not in data
                shown += data["content"]
            case "workflow_status":
                assert data["status"] in {"created", "running", "transition", "step_completed"}
                assert data["message"]
            case "error":
                assert data["error"] == data["message"] != ""
                assert data["code"]
    failed = "error" in {frame["type"] for frame in frames}
    outcomes = [frame["data"] for frame in frames if frame["type"] == "done"]
    assert all(one == {"success": True} for one in outcomes[:-1])
    assert outcomes[-1] == ({"success": False, "error": True} if failed else {"success": True})


def check_sessions(frames: Frames, *, superseded: bool = False) -> None:
    """S4: `start`, tokens, `end` with the same id; or `error` at last. A question to a human has its own end."""
    letters = "".join({"start": "s", "token": "t", "end": "e", "error": "x"}[frame["type"]] for frame in frames)
    assert re.fullmatch("(st*e)*(st*[ex]|x)", letters)
    ids = [frame["messageId"] for frame in frames if "messageId" in frame]
    assert all(start == end for start, end in zip(ids[::2], ids[1::2], strict=False))
    for frame in frames:
        if frame["type"] == "token":
            assert frame["content"]
        if frame["type"] == "error":
            assert frame["error"]
            assert frame["code"]


def _turns(frames: Frames, ends: set[str]) -> list[list[dict[str, Any]]]:
    """Frames up to each question to a human, and the rest."""
    turns: list[list[dict[str, Any]]] = [[]]
    for frame in frames:
        turns[-1].append(frame)
        if frame["type"] in ends and "interrupt" in frame.get("metadata", {}):
            turns.append([])
    return [turn for turn in turns if turn]


CHECKS: dict[str, Callable[..., None]] = {
    "native": check_native,
    "flows": check_flows,
    "chat": check_chat,
    "multi_agent": check_multi_agent,
    "threads": check_threads,
    "sessions": check_sessions,
}
