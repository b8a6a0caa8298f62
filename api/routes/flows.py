"""Flows: `/api/v1/flows`, and how a WebSocket executes one."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from litestar import MediaType, Request, Response, WebSocket, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery

from antiphon.api.dialects import DIALECTS
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.routes.commands import Adapt
from antiphon.api.routes.headers import IdempotencyKey
from antiphon.api.services import Services, idempotency_key
from antiphon.data.errors import NotFound
from antiphon.data.ids import new_id, same_id
from antiphon.data.records import FlowRecord
from antiphon.orchestrator.flows.language import text
from antiphon.orchestrator.flows.library import FlowLibrary
from antiphon.orchestrator.request import Request as AskedRequest

FLOWS = DIALECTS["flows"]
YAML = "application/yaml"
DEFINED = {"dialect": "native", "refuses": (400, 413, 422)}
"""Routes that take a definition: its text is read, to report the line and column of an error."""
OPT = {"dialect": "native"}


def executing(socket: WebSocket[Any, Any, Any], services: Services) -> Adapt:
    """Return what makes a flow, or a graph of the server's, answer the messages of a WebSocket.

    `?verbose=1` shows all elements' texts. A client without a session talks in one thread for as
    long as it is connected.
    """
    agent_id: str = socket.path_params["agent_id"]
    options: dict[str, Any] = {"agent_id": agent_id}
    if socket.query_params.get("verbose") in ("1", "true"):
        options["verbose"] = True
    own_thread = f"socket:{new_id()}"

    async def adapt(request: AskedRequest, principal: Principal) -> AskedRequest:
        name = f"{agent_id}/{request.thread_name}" if request.thread_name else own_thread
        try:
            graph = await services.flows.agent(agent_id, principal.id)
        except NotFound:
            if not await services.engine.waits(principal.id, (FLOWS.name, name)):
                raise Problem("AGENT_NOT_FOUND", "There is no such agent.") from None
            graph = None  # a run that has begun goes on, whatever became of the flow
        return msgspec.structs.replace(request, graph=graph, thread_name=name, options=options)

    return adapt


class FlowInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A flow of the caller's. `draft` and `published` are numbers of revisions.

    Times are ms since the epoch.
    """

    agent_id: str
    draft: int
    published: int | None
    created_at: int
    updated_at: int


def _info(flow: FlowRecord) -> FlowInfo:
    fields = msgspec.structs.asdict(flow)
    return FlowInfo(**{name: value for name, value in fields.items() if name != "owner"})


class FlowListing(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's flows, the last changed first."""

    flows: list[FlowInfo]


class FlowVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The definition can be executed."""

    valid: bool = True


@get("/api/v1/flows", opt=OPT)
async def list_flows(
    services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> FlowListing:
    """The caller's flows, the last changed first."""
    return FlowListing(flows=[_info(flow) for flow in await services.flows.mine(principal.id)])


@post("/api/v1/flows", status_code=201, opt=DEFINED)
async def create_flow(
    request: Request[Any, Any, Any],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    agent_id: FromQuery[str | None] = None,
    key: IdempotencyKey = None,
) -> FlowInfo:
    """Store a definition, JSON or YAML, as the draft of a new flow; or of `?agent_id=`."""
    body = await request.body()
    if not agent_id and (key_given := idempotency_key(request)):
        agent_id = same_id("flow", principal.id, key_given)
        if earlier := await _earlier(services.flows, agent_id, principal.id, body):
            return _info(earlier)
    return _info(await services.flows.save(body, principal.id, agent_id))


async def _earlier(flows: FlowLibrary, agent_id: str, user: str, body: bytes) -> FlowRecord | None:
    """Return the flow that the same request has made before, or None.

    Raises `Problem` IDEMPOTENCY_CONFLICT if the request was another one.
    """
    try:
        flow, definition = (
            await flows.record(agent_id, user),
            await flows.definition(agent_id, user),
        )
    except NotFound:
        return None
    if msgspec.json.decode(flows.check(body)) != definition:
        raise Problem("IDEMPOTENCY_CONFLICT", "This Idempotency-Key was used for another request.")
    return flow


@put("/api/v1/flows/{agent_id:str}", opt=DEFINED)
async def save_flow(
    request: Request[Any, Any, Any],
    agent_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> FlowInfo:
    """Store a definition, JSON or YAML, as the flow's draft; what is published stays as it is."""
    return _info(await services.flows.save(await request.body(), principal.id, agent_id))


@post("/api/v1/flows/check", status_code=200, opt=DEFINED)
async def check_flow(
    request: Request[Any, Any, Any],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> FlowVerdict:
    """Check a definition, JSON or YAML, without storing it. 422 with the place of each error."""
    services.flows.check(await request.body())
    return FlowVerdict()


@get(
    "/api/v1/flows/{agent_id:str}",
    opt=OPT | {"refuses": (400,)},
    responses={200: ResponseSpec(dict[str, Any], description="The definition, as it was given.")},
)
async def read_flow(
    agent_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    format: FromQuery[Literal["json", "yaml"]] = "json",
    published: FromQuery[bool] = False,
) -> Response[str]:
    """A flow's definition as it was given: the draft, or what is published, as JSON or YAML.

    The built-in team is the flow `team`, to be copied.
    """
    if agent_id == "team":
        definition = services.flows.built_in()
    else:
        definition = await services.flows.definition(agent_id, principal.id, published=published)
    if format == "yaml":
        return Response(text.to_yaml(definition), media_type=YAML)
    return Response(text.to_json(definition), media_type=MediaType.JSON)


@post("/api/v1/flows/{agent_id:str}/publish", status_code=200, opt=OPT)
async def publish_flow(
    agent_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> FlowInfo:
    """Let others run the draft as it is now."""
    return _info(await services.flows.publish(agent_id, principal.id))


@delete("/api/v1/flows/{agent_id:str}/publish", status_code=200, opt=OPT)
async def withdraw_flow(
    agent_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> FlowInfo:
    """Let only the owner run it."""
    return _info(await services.flows.publish(agent_id, principal.id, published=False))


@delete("/api/v1/flows/{agent_id:str}", status_code=204, opt=OPT)
async def delete_flow(
    agent_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> None:
    """Forget a flow. Runs of it go on."""
    await services.flows.delete(agent_id, principal.id)


ROUTES = (
    list_flows,
    create_flow,
    save_flow,
    check_flow,
    read_flow,
    publish_flow,
    withdraw_flow,
    delete_flow,
)
