"""The frames of the flow vocabulary: every one is `{type, data, timestamp}`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects.base import Questions, Sent

State = Literal["connected", "authenticated", "retrieving", "preparing", "executing"]


class FlowFrame(Sent, frozen=True, kw_only=True):
    """What all frames of this vocabulary have; the time is in seconds since the epoch."""

    timestamp: float = 0.0


class StatusData(msgspec.Struct, frozen=True):
    """What is going on, for people."""

    message: str
    state: State


class FlowStatus(FlowFrame, frozen=True, tag="status"):
    """What is going on."""

    data: StatusData


class StartedData(msgspec.Struct, frozen=True, kw_only=True):
    """`flow_id` is this execution's."""

    flow_id: str
    agent_id: str
    start_time: float


class FlowStarted(FlowFrame, frozen=True, tag="flow_started"):
    """The flow begins."""

    data: StartedData


class ElementData(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the flow."""

    flow_id: str
    element_id: str
    element_type: str
    element_name: str
    backtracking: bool = False


class ElementStarted(FlowFrame, frozen=True, tag="element_started"):
    """An element begins."""

    data: ElementData


class ChunkData(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of text; `metadata.channel` is `draft` if it is not the answer's."""

    flow_id: str
    element_id: str
    content: str
    metadata: dict[str, Any] = {}


class FlowChunk(FlowFrame, frozen=True, tag="llm_chunk"):
    """A piece of the answer; with `?verbose=1` of other elements' texts as well."""

    data: ChunkData


class CompletedData(ElementData, frozen=True, kw_only=True):
    """What an element gave: `output`, and `sources` if it searched; the time is in seconds."""

    outputs: dict[str, Any] = {}
    execution_time: float = 0.0


class ElementCompleted(FlowFrame, frozen=True, tag="element_completed"):
    """An element is done."""

    data: CompletedData


class OutputData(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    flow_id: str
    text_output: str
    proposed_transaction: None = None


class FinalOutput(FlowFrame, frozen=True, tag="final_output"):
    """The whole answer, or a question to the human."""

    data: OutputData


class FinalText(msgspec.Struct, frozen=True, kw_only=True):
    """The answer once more."""

    text_output: str


class FlowEndData(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, in order, and what each element gave; the time is in seconds."""

    flow_id: str
    execution_order: list[str]
    element_outputs: dict[str, Any]
    final_output: FinalText
    execution_time: float
    interrupt: Questions | UnsetType = UNSET


class FlowCompleted(FlowFrame, frozen=True, tag="flow_completed"):
    """The flow is done; the last frame of a turn."""

    data: FlowEndData


class ErrorData(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, and what was done before.

    `reason` is the exact code of EXECUTION_ERROR and TIMEOUT.
    """

    error: str
    code: str
    flow_id: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    partial_execution_order: list[str] = []
    partial_outputs: dict[str, Any] = {}
    execution_time: float = 0.0


class FlowError(FlowFrame, frozen=True, tag="flow_error"):
    """Something went wrong; the last frame of a turn."""

    data: ErrorData


FRAMES = (
    FlowStatus,
    FlowStarted,
    ElementStarted,
    FlowChunk,
    ElementCompleted,
    FinalOutput,
    FlowCompleted,
    FlowError,
)
