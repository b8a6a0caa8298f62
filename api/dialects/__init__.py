"""The vocabularies that clients speak, one file each. A new one is a file and a row in this table."""

from __future__ import annotations

from api.dialects.base import Dialect
from api.dialects.chat import Chat
from api.dialects.flows import Flows
from api.dialects.multi_agent import MultiAgent
from api.dialects.native import Native
from api.dialects.sessions import Sessions
from api.dialects.threads import Threads

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Native(),
        Flows(),
        Threads(),
        MultiAgent(),
        Chat(),
        Sessions(),
    )
}
