"""Routing decisions, and routing by words. Pure.

The lexical router compares a question with the specialists' descriptions and example questions, by
tf-idf of stems, pairs of stems and letter groups. The offline model classifies with it, and it is
the fallback for every other model.
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
"""A clause goes to an agent of its own only if the router is at least this confident."""
CLOSE = 0.6
"""An agent supports the best one if its score is at least this share of the best score."""

Candidate = tuple[str, str, tuple[str, ...]]
"""`(name, description, examples)` of an agent that a question may be routed to."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A routing decision.

    `parts` is the part of the question for each agent, if they differ; `confidence` is 0 to 1.
    """

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
        """Return the question for an agent: its own part, or the whole question."""
        return self.parts.get(agent) or question


def route_schema(names: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of a chat model's routing decision between these agents."""
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
                "description": (
                    "where the message asks several things: which specialist gets which question"
                ),
            },
        },
        "required": ["primary", "supporting", "confidence", "parts"],
        "additionalProperties": False,
    }


def read_route(answer: Any, names: Sequence[str]) -> Route | None:
    """Return the route that a model has chosen; None if the primary agent does not exist."""
    if not isinstance(answer, dict) or answer.get("primary") not in names:
        return None
    primary = answer["primary"]
    listed = [name for name in _as_list(answer.get("supporting")) if name in names]
    parts: dict[str, str] = {}
    for part in _as_list(answer.get("parts")):
        if isinstance(part, dict) and part.get("agent") in names and part.get("question"):
            parts[part["agent"]] = str(part["question"])
    supporting = tuple(name for name in dict.fromkeys([*listed, *parts]) if name != primary)
    return Route(
        primary=primary,
        supporting=supporting,
        confidence=_confidence(answer.get("confidence")),
        parts=parts if len(parts) > 1 else {},
        reason="chosen by the model",
    )


def _confidence(value: Any) -> float:
    """Return a model's confidence between 0 and 1; 0.5 if it gave no number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 0.5
    bounded = float(min(max(value, 0), 1))
    return bounded if math.isfinite(bounded) else 0.5


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def route_by_words(question: str, candidates: Iterable[Candidate]) -> Route:
    """Route a question by its words alone."""
    router = _router(tuple(candidates))
    clauses = split_questions(question)
    parts = _assign(router, clauses) if len(clauses) > 1 else {}
    if parts:
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
    """Return the clauses of each agent if they clearly belong to different agents; else nothing."""
    parts: dict[str, list[str]] = {}
    for clause in clauses:
        scores = router.scores(clause)
        if router.confidence(scores) < CERTAIN and parts:
            name = next(reversed(parts))  # an unclear clause goes with the previous one
        else:
            name = max(scores, key=lambda agent: scores[agent])
        parts.setdefault(name, []).append(clause)
    return {name: " ".join(texts) for name, texts in parts.items()} if len(parts) > 1 else {}


_CLAUSE = re.compile(
    r"(?<=[?!.;])\s+|\n+|,?\s+(?:and|also|und)\s+(?=(?:what|how|when|why|which|where|who|does|do|is|are|can|should)\b)",
    re.IGNORECASE,
)


def split_questions(text: str) -> list[str]:
    """Return the questions of a message, in order.

    A fragment with fewer than two content words is joined to the previous question.
    """
    clauses: list[str] = []
    for piece in map(str.strip, _CLAUSE.split(text)):
        if not piece:
            continue
        if clauses and len(set(content_words(piece))) < 2:
            clauses[-1] = f"{clauses[-1]} {piece}"
        else:
            clauses.append(piece)
    return clauses or [text.strip()]


@lru_cache(maxsize=32)
def _router(candidates: tuple[Candidate, ...]) -> _Router:
    return _Router(candidates)


class _Router:
    """Vectors of the agents' examples.

    A score is the sum of the three nearest examples, plus twice the centroid.
    """

    def __init__(self, candidates: tuple[Candidate, ...]) -> None:
        texts = {name: (description, *examples) for name, description, examples in candidates}
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
        """Return the score of each agent for a text; 0 if they share nothing."""
        vector = self._vector(Counter(_features(text)))
        scores: dict[str, float] = {}
        for name, examples in self._examples.items():
            nearest = sorted((_dot(vector, example) for example in examples), reverse=True)[:3]
            scores[name] = sum(nearest) + 2 * _dot(vector, self._centroids[name])
        return scores

    @staticmethod
    def confidence(scores: dict[str, float]) -> float:
        """Return the best agent's share of all scores, damped if even the best score is low."""
        best, total = max(scores.values()), sum(scores.values())
        return round(best / total * min(1.0, 0.5 + best), 2) if total > 0 else 0.0


def _features(text: str) -> list[str]:
    singles = stems(text)
    letters = " ".join(f"_{word}_" for word in singles)
    groups = [letters[i : i + n] for n in (3, 4, 5) for i in range(len(letters) - n + 1)]
    pairs = [f"{first} {second}" for first, second in pairwise(singles)]
    return singles + pairs + [group for group in groups if " " not in group]


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
