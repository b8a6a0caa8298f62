"""The flows of all users: kept in the database, checked before they are kept, compiled when they are run.

A user's request names a flow by its agent id. The graph of a run is one revision of it, `flow:<agent id>@<revision>`,
which never changes: a run that is taken over by another process goes on with the definition that it began with.
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
from antiphon.data.records import Flow as FlowRecord
from antiphon.orchestrator.clock import Clock
from antiphon.orchestrator.errors import BadRequest, UnknownGraph
from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.flows.check import check
from antiphon.orchestrator.flows.compile import bound_to, compile_flow, flow_of
from antiphon.orchestrator.flows.definition import SIZE, FlowInvalid, FlowProblem
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
"""Ids that are names of routes."""
COMPILED = 64
"""Compiled flows that are kept; the longest unused go first."""
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

    # -- definitions --------------------------------------------------------------------------------------------

    async def save(self, definition: str | bytes | Any, user: str, agent_id: str | None = None) -> FlowRecord:
        """Store a definition, a value or a text, as the draft of a user's flow; a new one without an id.

        Raises `FlowInvalid`, `BadRequest` for an impossible id, `NotFound` where the flow is somebody else's.
        """
        encoded = self.check(definition)
        chosen = agent_id or new_id()
        if not AGENT_ID.fullmatch(chosen) or chosen in {*TAKEN, *self._graphs}:
            raise BadRequest("An agent id has 1 to 128 letters, digits, '_', '.' or '-', and is no graph's name.")
        return await self._database.write(transactions.save_flow, chosen, user, encoded, self._clock())

    async def publish(self, agent_id: str, user: str, *, published: bool = True) -> FlowRecord:
        """Let others run the draft as it is now, or nothing any more. Raises `NotFound`."""
        return await self._database.write(transactions.publish_flow, agent_id, user, self._clock(), published=published)

    async def delete(self, agent_id: str, user: str) -> None:
        """Forget a flow; runs of it go on. Raises `NotFound`."""
        await self._database.write(transactions.delete_flow, agent_id, user)

    async def mine(self, user: str) -> list[FlowRecord]:
        """A user's flows, the last changed first."""
        return await self._database.fetch(reads.flows_of, user)

    async def record(self, agent_id: str, user: str) -> FlowRecord:
        """A flow of this user. Raises `NotFound`."""
        flow = await self._database.fetch(reads.flow, agent_id)
        if flow is None or flow.owner != user:
            raise NotFound
        return flow

    async def definition(self, agent_id: str, user: str, *, published: bool = False) -> Any:
        """The draft of a user's flow, or what of it is published. Raises `NotFound`."""
        flow = await self.record(agent_id, user)
        revision = flow.published if published else flow.draft
        encoded = await self._database.fetch(reads.flow_revision, agent_id, revision) if revision else None
        if encoded is None:
            raise NotFound
        return msgspec.json.decode(encoded)

    def check(self, definition: str | bytes | Any) -> bytes:
        """A definition, a value or a text, as it is stored. Raises `FlowInvalid` where it cannot be run."""
        return checked_definition(definition, self._team.names)

    def built_in(self) -> dict[str, Any]:
        """The team as a flow, to be copied."""
        return team_flow(self._team)

    # -- graphs -------------------------------------------------------------------------------------------------

    async def name_for(self, name: str, user: str) -> str | None:
        """The graph that `flow:<agent id>` is for a user: the owner's draft, what is published for others.

        None where there is nothing that this user may run.
        """
        flow = await self._database.fetch(reads.flow, name.removeprefix(PREFIX))
        if flow is None:
            return None
        revision = flow.draft if flow.owner == user else flow.published
        return f"{PREFIX}{flow.agent_id}@{revision}" if revision else None

    async def agent(self, agent_id: str, user: str) -> str | None:
        """What a client runs that names an agent: a flow, or a graph of the server's.

        None stands for the default graph, which every agent is as long as nobody has published a flow. Raises
        `NotFound`.
        """
        if agent_id in self._graphs:
            return agent_id
        if await self.name_for(PREFIX + agent_id, user) is not None:
            return PREFIX + agent_id
        if await self._database.fetch(reads.any_flow):
            raise NotFound
        return None

    async def bound_to(self, graph: str, user: str) -> bytes:
        """The state of a new thread whose messages all go to the flow `flow:<agent id>`. Raises `UnknownGraph`."""
        if not graph.startswith(PREFIX) or await self.name_for(graph, user) is None:
            raise UnknownGraph(f"There is no flow {graph!r} here.")
        return bound_to(graph.removeprefix(PREFIX))

    async def of_thread(self, state: bytes) -> str | None:
        """The flow that a thread's messages go to unless they say otherwise, as `flow:<agent id>`."""
        agent_id = flow_of(state)
        if agent_id is None or await self._database.fetch(reads.flow, agent_id) is None:
            return None
        return PREFIX + agent_id

    async def graph(self, name: str) -> ServedGraph | None:
        """The graph of a revision, by the name that a run has recorded."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        if name not in self._compiled:
            agent_id, revision = found[1], int(found[2])
            encoded = await self._database.fetch(reads.flow_revision, agent_id, revision)
            if encoded is None:
                return None
            try:
                plan = check(msgspec.json.decode(encoded), self._team.names)
            except FlowInvalid:
                log.exception("a stored flow cannot be executed here", extra={"graph": name})
                return None
            self._compiled[name] = compile_flow(name, agent_id, plan, self._model, self._clock, self._make_context)
        self._compiled.move_to_end(name)
        while len(self._compiled) > COMPILED:
            self._compiled.popitem(last=False)
        return self._compiled[name]


def checked_definition(definition: str | bytes | Any, specialists: Collection[str]) -> bytes:
    """A definition, a value or a text, as it is stored. Raises `FlowInvalid` where it cannot be run."""
    is_text = isinstance(definition, str | bytes)
    value = from_text(definition) if is_text else definition
    try:
        check(value, specialists)
    except FlowInvalid as invalid:
        raise FlowInvalid(located(definition, invalid.problems) if is_text else invalid.problems) from None
    return _encoded(value)


def _encoded(definition: Any) -> bytes:
    try:
        encoded = msgspec.json.encode(definition)
    except (TypeError, ValueError, OverflowError):
        problem = FlowProblem(code="BAD_TEXT", message="The definition holds what JSON cannot hold.")
        raise FlowInvalid([problem]) from None
    if len(encoded) > SIZE:
        message = f"A flow has at most {SIZE} bytes; this one has {len(encoded)}."
        raise FlowInvalid([FlowProblem(code="TOO_LARGE", message=message)])
    return encoded
