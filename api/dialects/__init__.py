"""The vocabularies that clients speak, one file each. A new one is a file and a row here."""

from __future__ import annotations

from antiphon.api.dialects.base import Dialect
from antiphon.api.dialects.chat import Chat
from antiphon.api.dialects.flows import Flows
from antiphon.api.dialects.multi_agent import MultiAgent
from antiphon.api.dialects.native import Native
from antiphon.api.dialects.sessions import Sessions
from antiphon.api.dialects.threads import Threads

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
