"""The built-in specialists, one file each. To add one, write a file and add it to this table."""

from __future__ import annotations

from antiphon.orchestrator.team.agents import maintenance, specs, troubleshooting
from antiphon.orchestrator.team.team import Team

TEAM = Team(agents=(specs.AGENT, maintenance.AGENT, troubleshooting.AGENT))
