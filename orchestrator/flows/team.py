"""The built-in team as a flow that users can copy and change. Pure."""

from __future__ import annotations

from typing import Any

from antiphon.orchestrator.team.team import Team


def team_flow(team: Team) -> dict[str, Any]:
    """Return a definition: classify, search, and let the chosen specialist answer."""
    classes = [
        {"name": agent.name, "description": agent.description, "examples": list(agent.examples)}
        for agent in team
    ]
    first, *others = team.names
    middle = 80 * (len(team.names) - 1)
    return {
        "name": "Team",
        "description": (
            "The built-in team: a classifier, the knowledge base, and one specialist who answers."
        ),
        "nodes": [
            _node("input", "input", "Message", 0, middle, {}),
            _node("classifier", "classifier", "Who answers?", 200, middle, {"classes": classes}),
            _node("retriever", "retriever", "Knowledge", 400, middle, {}),
            _node("route", "condition", "Route", 600, middle, {}),
            *(
                _node(name, "agent", name.capitalize(), 800, 160 * index, {"agent": name})
                for index, name in enumerate(team.names)
            ),
            _node("output", "output", "Answer", 1000, middle, {}),
        ],
        "edges": [
            {"id": "e1", "source": "input", "target": "classifier"},
            {"id": "e2", "source": "classifier", "target": "retriever"},
            {"id": "e3", "source": "retriever", "target": "route"},
            *(
                {
                    "id": f"to-{name}",
                    "source": "route",
                    "target": name,
                    "condition": f'outputs["classifier"] == "{name}"',
                }
                for name in others
            ),
            {"id": f"to-{first}", "source": "route", "target": first},
            *({"id": f"from-{name}", "source": name, "target": "output"} for name in team.names),
        ],
    }


def _node(
    id_: str, type_: str, name: str, x: int, y: int, config: dict[str, Any]
) -> dict[str, Any]:
    return {"id": id_, "type": type_, "name": name, "position": {"x": x, "y": y}, "config": config}
