"""The flows of all users: checked before they are stored, compiled when they are run.

A user's request names a flow by its agent id. The graph of a run is one revision of the flow,
`flow:<agent id>@<revision>`, which never changes: a run that another process takes over continues
with the definition that it began with.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from antiphon.data import reads, transactions
from antiphon.data.database import Database
from antiphon.data.errors import NotFound
from antiphon.data.ids import new_id
from antiphon.data.records import FlowRecord
from antiphon.orchestrator.clock import Clock
from antiphon.orchestrator.errors import BadRequest, UnknownGraph
from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.flows.check import check
from antiphon.orchestrator.flows.compile import compile_flow
from antiphon.orchestrator.flows.conversation import bound_to, flow_of
from antiphon.orchestrator.flows.definition import SIZE, FlowInvalid, FlowProblem
from antiphon.orchestrator.flows.kinds import KINDS
from antiphon.orchestrator.flows.language.text import from_text, located
from antiphon.orchestrator.flows.team import team_flow
from antiphon.orchestrator.graphs.served import ServedGraph
from antiphon.orchestrator.request import Request
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.team import Team

log = logging.getLogger("antiphon.flows")

PREFIX = "flow:"
AGENT_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
TAKEN = ("check",)
"""Agent ids that would hide routes."""
COMPILED = 64
"""Compiled flows to keep. The least recently used ones are dropped first."""
_NAME = re.compile(r"flow:([A-Za-z0-9_.-]{1,128})@(\d{1,9})")


class FlowLibrary:
    """Stores, publishes and compiles flows."""

    def __init__(
        self,
        database: Database,
        team: Team,
        model: Any,
        clock: Clock,
        make_context: Callable[[Request, Callable[[AnyEvent], None]], TeamContext],
        graphs: Collection[str],
    ) -> None:
        self._database = database
        self._team = team
        self._model = model
        self._clock = clock
        self._make_context = make_context
        self._graphs = graphs
        self._compiled: OrderedDict[str, ServedGraph] = OrderedDict()

    # -- definitions -------------------------------------------------------------------------------

    async def save(
        self, definition: str | bytes | Any, user: str, agent_id: str | None = None
    ) -> FlowRecord:
        """Store a definition, a value or a text, as the draft of a user's flow.

        Without an id, the flow is new. Raises `FlowInvalid`, `BadRequest` for an id that is not
        allowed, `NotFound` if the flow belongs to another user.
        """
        encoded = self.check(definition)
        chosen = agent_id or new_id()
        if not AGENT_ID.fullmatch(chosen) or chosen in {*TAKEN, *self._graphs}:
            message = (
                "An agent id has 1 to 128 letters, digits, '_', '.' or '-', and is no graph's name."
            )
            raise BadRequest(message)
        at = self._clock()
        return await self._database.write(transactions.save_flow, chosen, user, encoded, at)

    async def publish(self, agent_id: str, user: str, *, published: bool = True) -> FlowRecord:
        """Let others run the draft as it is now, or nothing any more. Raises `NotFound`."""
        at, write = self._clock(), self._database.write
        return await write(transactions.publish_flow, agent_id, user, at, published=published)

    async def delete(self, agent_id: str, user: str) -> None:
        """Delete a flow. Its runs continue. Raises `NotFound`."""
        await self._database.write(transactions.delete_flow, agent_id, user)

    async def mine(self, user: str) -> list[FlowRecord]:
        """Return a user's flows, the last changed first."""
        return await self._database.fetch(reads.flows_of, user)

    async def record(self, agent_id: str, user: str) -> FlowRecord:
        """Return a flow of this user. Raises `NotFound`."""
        flow = await self._database.fetch(reads.flow, agent_id)
        if flow is None or flow.owner != user:
            raise NotFound
        return flow

    async def definition(self, agent_id: str, user: str, *, published: bool = False) -> Any:
        """Return the draft of a user's flow, or its published revision. Raises `NotFound`."""
        flow = await self.record(agent_id, user)
        revision = flow.published if published else flow.draft
        encoded = (
            await self._database.fetch(reads.flow_revision, agent_id, revision)
            if revision
            else None
        )
        if encoded is None:
            raise NotFound
        return msgspec.json.decode(encoded)

    def check(self, definition: str | bytes | Any) -> bytes:
        """Return a definition, a value or a text, as it is stored. Raises `FlowInvalid`."""
        return checked_definition(definition, self._team.names)

    def built_in(self) -> dict[str, Any]:
        """Return the team as a flow, for users to copy."""
        return team_flow(self._team)

    # -- graphs ------------------------------------------------------------------------------------

    async def name_for(self, name: str, user: str) -> str | None:
        """Return the graph of `flow:<agent id>`, or None if this user may not run it.

        It is the draft for the owner, the published revision for others.
        """
        flow = await self._database.fetch(reads.flow, name.removeprefix(PREFIX))
        if flow is None:
            return None
        revision = flow.draft if flow.owner == user else flow.published
        return f"{PREFIX}{flow.agent_id}@{revision}" if revision else None

    async def agent(self, agent_id: str, user: str) -> str | None:
        """Return the graph for a client that names an agent: a flow, or a graph of the server.

        None stands for the default graph: every agent id names it as long as no flow is published.
        Raises `NotFound`.
        """
        if agent_id in self._graphs:
            return agent_id
        if await self.name_for(PREFIX + agent_id, user) is not None:
            return PREFIX + agent_id
        if await self._database.fetch(reads.any_flow):
            raise NotFound
        return None

    async def bound_to(self, graph: str, user: str) -> bytes:
        """Return the state of a new thread whose messages all go to the flow `flow:<agent id>`.

        Raises `UnknownGraph`.
        """
        if not graph.startswith(PREFIX) or await self.name_for(graph, user) is None:
            raise UnknownGraph(f"There is no flow {graph!r} here.")
        return bound_to(graph.removeprefix(PREFIX))

    async def of_thread(self, state: bytes) -> str | None:
        """Return the flow for messages that name no graph, as `flow:<agent id>`."""
        agent_id = flow_of(state)
        if agent_id is None or await self._database.fetch(reads.flow, agent_id) is None:
            return None
        return PREFIX + agent_id

    async def graph(self, name: str) -> ServedGraph | None:
        """Return the graph of a revision, by the name that a run has recorded."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        if name not in self._compiled:
            agent_id, revision = match[1], int(match[2])
            encoded = await self._database.fetch(reads.flow_revision, agent_id, revision)
            if encoded is None:
                return None
            try:
                plan = check(msgspec.json.decode(encoded), KINDS, self._team.names)
            except FlowInvalid:
                log.exception("a stored flow cannot be executed here", extra={"graph": name})
                return None
            self._compiled[name] = compile_flow(
                name, agent_id, plan, self._model, self._clock, self._make_context
            )
        self._compiled.move_to_end(name)
        while len(self._compiled) > COMPILED:
            self._compiled.popitem(last=False)
        return self._compiled[name]


def checked_definition(definition: str | bytes | Any, specialists: Collection[str]) -> bytes:
    """Return a definition, a value or a text, as it is stored. Raises `FlowInvalid`."""
    is_text = isinstance(definition, str | bytes)
    value = from_text(definition) if is_text else definition
    try:
        check(value, KINDS, specialists)
    except FlowInvalid as invalid:
        problems = located(definition, invalid.problems) if is_text else invalid.problems
        raise FlowInvalid(problems) from None
    return _encoded(value)


def _encoded(definition: Any) -> bytes:
    try:
        encoded = msgspec.json.encode(definition)
    except (TypeError, ValueError, OverflowError):
        problem = FlowProblem(
            code="BAD_TEXT", message="The definition holds what JSON cannot hold."
        )
        raise FlowInvalid([problem]) from None
    if len(encoded) > SIZE:
        message = f"A flow has at most {SIZE} bytes; this one has {len(encoded)}."
        raise FlowInvalid([FlowProblem(code="TOO_LARGE", message=message)])
    return encoded
