"""Who answers: routing by words, and what a routing decision is. Pure.

The lexical router compares a question with the specialists' descriptions and example questions (tf-idf of stems, pairs
of stems and letter groups). It is the offline model's way of classifying, and everybody's fallback.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import msgspec

from antiphon.rag.words import content_words, stems

CERTAIN = 0.45
"""A clause goes to an agent of its own only where the router is at least this sure."""
CLOSE = 0.6
"""An agent whose score comes this near to the best one supports it."""

Profile = tuple[str, str, tuple[str, ...]]
"""`(name, description, examples)` of an agent: all that routing needs to know."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A routing decision. `parts` gives each agent its part of the question; confidence is between 0 and 1."""

    primary: str
    supporting: tuple[str, ...] = ()
    confidence: float = 0.0
    parts: dict[str, str] = {}
    reason: str = ""

    @property
    def agents(self) -> tuple[str, ...]:
        """All agents of the route, the primary one first."""
        return (self.primary, *self.supporting)

    def part(self, agent: str, question: str) -> str:
        """What an agent is asked: its own part, or the whole question."""
        return self.parts.get(agent) or question


def route_schema(names: Sequence[str]) -> dict[str, Any]:
    """The JSON schema by which a chat model answers a routing request."""
    agent = {"type": "string", "enum": list(names)}
    part = {
        "type": "object",
        "properties": {"agent": agent, "question": {"type": "string"}},
        "required": ["agent", "question"],
        "additionalProperties": False,
    }
    return {
        "title": "route",
        "description": "Decide which specialists answer the question.",
        "type": "object",
        "properties": {
            "primary": {**agent, "description": "the specialist who answers"},
            "supporting": {
                "type": "array",
                "items": agent,
                "description": "specialists who can contribute; often none",
            },
            "confidence": {"type": "number", "description": "how sure you are, from 0 to 1"},
            "parts": {
                "type": "array",
                "items": part,
                "description": "where the message asks several things: which specialist gets which question",
            },
        },
        "required": ["primary", "supporting", "confidence", "parts"],
        "additionalProperties": False,
    }


def read_route(answer: Any, names: Sequence[str]) -> Route | None:
    """A model's routing answer, checked against the agents that there are. None where it makes no sense."""
    if not isinstance(answer, dict) or answer.get("primary") not in names:
        return None
    primary = answer["primary"]
    listed = [name for name in _listed(answer.get("supporting")) if name in names]
    pairs = [one for one in _listed(answer.get("parts")) if isinstance(one, dict)]
    parts = {
        p["agent"]: str(p["question"])
        for p in pairs
        if p.get("agent") in names and p.get("question")
    }
    supporting = tuple(name for name in dict.fromkeys([*listed, *parts]) if name != primary)
    confidence = answer.get("confidence")
    sure = 0.5
    if isinstance(confidence, int | float) and not isinstance(confidence, bool):
        sure = float(min(max(confidence, 0), 1))
    return Route(
        primary=primary,
        supporting=supporting,
        confidence=sure if math.isfinite(sure) else 0.5,
        parts=parts if len(parts) > 1 else {},
        reason="chosen by the model",
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def route_by_words(question: str, profiles: Iterable[Profile]) -> Route:
    """Route a question by its words alone."""
    router = _router(tuple(profiles))
    clauses = split_questions(question)
    if len(clauses) > 1 and (parts := _assign(router, clauses)):
        primary = next(iter(parts))
        return Route(
            primary=primary,
            supporting=tuple(name for name in parts if name != primary),
            confidence=router.confidence(router.scores(parts[primary])),
            parts=parts,
            reason="several questions, each for the specialist whose examples are nearest",
        )
    scores = router.scores(question)
    primary = max(scores, key=lambda name: scores[name])
    best = scores[primary]
    close = tuple(
        name for name in scores if name != primary and best > 0 and scores[name] >= CLOSE * best
    )
    return Route(
        primary=primary,
        supporting=close,
        confidence=router.confidence(scores),
        reason="nearest by words" if best > 0 else "no word in common with any specialist",
    )


def _assign(router: _Router, clauses: Sequence[str]) -> dict[str, str]:
    """`agent -> its clauses`, where the clauses clearly belong to different agents; else nothing."""
    parts: dict[str, list[str]] = {}
    for clause in clauses:
        scores = router.scores(clause)
        if router.confidence(scores) < CERTAIN and parts:
            name = next(reversed(parts))  # an unclear clause belongs to the one before it
        else:
            name = max(scores, key=lambda one: scores[one])
        parts.setdefault(name, []).append(clause)
    return {name: " ".join(texts) for name, texts in parts.items()} if len(parts) > 1 else {}


_CLAUSE = re.compile(
    r"(?<=[?!.;])\s+|\n+|,?\s+(?:and|also|und)\s+(?=(?:what|how|when|why|which|where|who|does|do|is|are|can|should)\b)",
    re.IGNORECASE,
)


def split_questions(text: str) -> list[str]:
    """The questions of a message, in order. Fragments without a content word go with the one before."""
    clauses: list[str] = []
    for piece in (found.strip() for found in _CLAUSE.split(text)):
        if not piece:
            continue
        if clauses and len(set(content_words(piece))) < 2:
            clauses[-1] = f"{clauses[-1]} {piece}"
        else:
            clauses.append(piece)
    return clauses or [text.strip()]


@lru_cache(maxsize=32)
def _router(profiles: tuple[Profile, ...]) -> _Router:
    return _Router(profiles)


class _Router:
    """Vectors of the agents' examples. A score is the three nearest examples plus twice the centroid."""

    def __init__(self, profiles: tuple[Profile, ...]) -> None:
        texts = {name: (description, *examples) for name, description, examples in profiles}
        counts = {
            name: [Counter(_features(text)) for text in of_agent]
            for name, of_agent in texts.items()
        }
        every = [count for of_agent in counts.values() for count in of_agent]
        seen = Counter(feature for count in every for feature in count)
        self._idf = {feature: math.log(1 + len(every) / n) for feature, n in seen.items()}
        self._examples = {
            name: [self._vector(count) for count in of_agent] for name, of_agent in counts.items()
        }
        self._centroids = {name: _unit(_sum(vectors)) for name, vectors in self._examples.items()}

    def _vector(self, count: Counter[str]) -> dict[str, float]:
        return _unit(
            {f: (1 + math.log(n)) * self._idf[f] for f, n in count.items() if f in self._idf}
        )

    def scores(self, text: str) -> dict[str, float]:
        """How near a text is to each agent; 0 where nothing is shared."""
        vector = self._vector(Counter(_features(text)))
        return {
            name: sum(sorted((_dot(vector, one) for one in examples), reverse=True)[:3])
            + 2 * _dot(vector, self._centroids[name])
            for name, examples in self._examples.items()
        }

    @staticmethod
    def confidence(scores: dict[str, float]) -> float:
        """The best agent's share of all scores, damped where even the best one is far away."""
        best, total = max(scores.values()), sum(scores.values())
        return round(best / total * min(1.0, 0.5 + best), 2) if total > 0 else 0.0


def _features(text: str) -> list[str]:
    found = stems(text)
    letters = " ".join(f"_{word}_" for word in found)
    groups = [letters[i : i + n] for n in (3, 4, 5) for i in range(len(letters) - n + 1)]
    return found + [f"{a} {b}" for a, b in pairwise(found)] + [g for g in groups if " " not in g]


def _sum(vectors: Iterable[dict[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for vector in vectors:
        total.update(vector)
    return dict(total)


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(sum(value * value for value in vector.values()))
    return {feature: value / length for feature, value in vector.items()} if length else {}


def _dot(a: dict[str, float], b: dict[str, float]) -> float:
    return sum(value * b[feature] for feature, value in a.items() if feature in b)
