"""The frames of the multi-agent vocabulary."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects.base import Questions, Sent
from antiphon.orchestrator import events as ev


class TeamFrame(Sent, frozen=True, kw_only=True):
    """What all frames of this vocabulary have."""

    timestamp: str = ""


class TeamProgress(TeamFrame, frozen=True, tag="progress"):
    """How far the run is: 0 to 1, never back."""

    progress: float
    message: str


class TeamAgentStart(TeamFrame, frozen=True, tag="agent_start"):
    """An agent begins. `internal` agents do not answer themselves."""

    agent: str
    query: str
    message: str
    internal: bool | UnsetType = UNSET


class TeamAgentChunk(TeamFrame, frozen=True, tag="agent_chunk"):
    """A piece of an agent's text; `content` is another name of `chunk`."""

    agent: str
    chunk: str
    content: str
    internal: bool | UnsetType = UNSET


class TeamAgentMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent's work went."""

    duration_ms: int
    finish_reason: str | None = None
    usage: ev.Usage | UnsetType = UNSET


class TeamAgentComplete(TeamFrame, frozen=True, tag="agent_complete"):
    """An agent is done."""

    agent: str
    response: str
    metadata: TeamAgentMetadata
    internal: bool | UnsetType = UNSET


class InteractionMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of interaction it is, and why."""

    kind: str
    reason: str | None = None


class PastInteraction(msgspec.Struct, frozen=True, kw_only=True):
    """An interaction as `complete` repeats it."""

    from_agent: str
    to_agent: str
    query: str
    response: str
    metadata: InteractionMetadata
    timestamp: str


class TeamInteraction(TeamFrame, frozen=True, tag="interaction"):
    """One agent turns to another, or to the user."""

    from_agent: str
    to_agent: str
    query: str
    response: str
    metadata: InteractionMetadata
    message: str


class TeamSource(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that the answer rests on."""

    id: str
    title: str
    uri: str | None
    score: float
    snippet: str


class TeamMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer rests on; `partial` if the run did not come to its end."""

    primary_agent: str | UnsetType | None = UNSET
    confidence: float | UnsetType | None = UNSET
    sources: list[TeamSource] | UnsetType = UNSET
    usage: ev.Usage | UnsetType = UNSET
    partial: bool | UnsetType = UNSET
    interrupt: Questions | UnsetType = UNSET


class TeamComplete(TeamFrame, frozen=True, tag="complete"):
    """The whole answer, once; always the last frame."""

    response: str
    interactions: list[PastInteraction]
    metadata: TeamMetadata


class TeamError(TeamFrame, frozen=True, tag="error"):
    """Something went wrong; if `recoverable`, it may go on."""

    error: str
    code: str
    agent: str | None = None
    recoverable: bool = False


class TeamConnected(TeamFrame, frozen=True, tag="connected"):
    """The login is valid."""

    connection_id: str


class TeamPong(TeamFrame, frozen=True, tag="pong"):
    """The answer to a ping."""
