"""Flows for tests, and a client of each route."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx

FLOWS = "/api/v1/flows"


def node(id_: str, type_: str, **config: Any) -> dict[str, Any]:
    return {"id": id_, "type": type_, "config": config}


def edge(source: str, target: str, condition: str | None = None) -> dict[str, Any]:
    return {"source": source, "target": target} | ({"condition": condition} if condition else {})


def line(*nodes: dict[str, Any]) -> dict[str, Any]:
    """A flow that goes from the input through nodes to the output."""
    every = [node("in", "input"), *nodes, node("out", "output")]
    ids = [raw_node["id"] for raw_node in every]
    return {"name": "A flow", "nodes": every, "edges": [edge(a, b) for a, b in pairwise(ids)]}


def saying(template: str) -> dict[str, Any]:
    """A flow that answers with a template."""
    return line(node("say", "template", template=template))


def prompting(prompt: str, question: str = "{{ message }}") -> dict[str, Any]:
    """A flow that asks the model."""
    return line(node("think", "agent", prompt=prompt, question=question))


def approving() -> dict[str, Any]:
    """A flow that asks a human first."""
    return line(
        node("ask", "approval", question="Send {{ message }}?", options=["yes", "no"]),
        node("say", "template", template='You said {{ outputs["ask"] }}.'),
    )


def steps() -> dict[str, Any]:
    """A conversation in three steps; each leads on if the message contains "next"."""
    return {
        "nodes": [
            node("in", "input"),
            node("greet", "step", goal="Greet them."),
            node("ask", "step", goal="Ask for the car."),
            node("bye", "step", goal="Say goodbye."),
        ],
        "edges": [
            edge("in", "greet"),
            edge("greet", "ask", 'contains(message, "next")'),
            edge("ask", "bye", 'contains(message, "next")'),
        ],
    }


async def saved(
    client: httpx.AsyncClient, definition: Any, agent_id: str | None = None, **options: Any
) -> str:
    """Store a flow; return its id."""
    params = {"agent_id": agent_id} if agent_id else {}
    response = await client.post(FLOWS, json=definition, params=params, **options)
    assert response.status_code == 201, response.text
    chosen: str = response.json()["agent_id"]
    return chosen


async def published(
    client: httpx.AsyncClient, definition: Any, agent_id: str | None = None, **options: Any
) -> str:
    """Store a flow and let others run it; return its id."""
    chosen = await saved(client, definition, agent_id, **options)
    response = await client.post(f"{FLOWS}/{chosen}/publish", **options)
    assert response.status_code == 200, response.text
    return chosen
