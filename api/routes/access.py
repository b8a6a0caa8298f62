"""`POST /auth/ws-ticket`: a single-use ticket that opens a WebSocket without a token in its URL."""

from __future__ import annotations

import msgspec
from litestar import post
from litestar.di import NamedDependency

from antiphon.api.principal import Principal
from antiphon.api.services import TICKET_SECONDS, Services


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """Give it as `?ticket=` to any WebSocket of this server, within `expires_in` seconds."""

    ticket: str
    expires_in: int


@post("/auth/ws-ticket", status_code=201)
async def issue_ticket(
    services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> Ticket:
    """A ticket in the caller's name."""
    return Ticket(ticket=await services.issue_ticket(principal), expires_in=TICKET_SECONDS)


ROUTES = (issue_ticket,)
