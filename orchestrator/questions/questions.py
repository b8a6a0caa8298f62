"""Questions to a human: how a graph's interrupts are shown, and what an answer gives the graph. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from antiphon.orchestrator.errors import AnswerInvalid, AnswerUnclear, UnknownQuestion
from antiphon.orchestrator.events import Interrupt, OpenQuestion, as_text
from antiphon.orchestrator.questions.consent import consent
from antiphon.orchestrator.questions.json_schema import misfit
from antiphon.orchestrator.questions.reviews import review_of
from antiphon.orchestrator.recording.texts import GAP

BREAKPOINT = "breakpoint"
"""The reason of an interrupt without a question: a graph's `interrupt_before` or `interrupt_after`."""
REFUSED = "answer_refused"
"""The reason of a question that is asked again because the graph did not take the answer."""
ASKING_KEYS = (
    "question",
    "query",
    "prompt",
    "message",
    "text",
    "instruction",
    "instructions",
    "title",
)
"""Where an object may have its question, if it has one."""
HINTS = ("options", "schema")
DETAIL_LIMIT = 4000
"""Characters of each further field of a question that are shown with it."""
TEXT_LIMIT = 2000
"""Characters of each text of a graph's state that are shown at a breakpoint."""
STATE_LIMIT = 16_000
"""Characters of a graph's state that are shown at a breakpoint."""
CALLS = 10
"""Tool calls of one message that are shown at a breakpoint."""
_ID = re.compile(r"[0-9a-f]{32}")
"""The id of an interrupt."""


class Asked(NamedTuple):
    """One interrupt of a graph, in plain values."""

    id: str
    value: Any
    schema: dict[str, Any] | None = None
    """What an answer must fit (`response_schema`)."""
    call_id: str | None = None


class Reading(NamedTuple):
    """What an answer means: which question it answers, and what the graph is given."""

    id: str
    resume: dict[str, Any]
    stops: bool = False
    """Whether the run ends here: a no at a breakpoint."""


# -- showing ----------------------------------------------------------------------------------------


def interrupt_of(asked: Sequence[Asked], refused: bool = False) -> Interrupt:
    """The event for what a graph asks, the oldest question first."""
    first, *others = asked
    shown, *rest = [_open(one) for one in asked]
    texts = [prompt for prompt in [_prompt(first)] if prompt]
    if refused:
        texts.insert(0, "The graph did not take that answer. Please answer again.")
    if rest:
        texts.append("\n".join(["Also open:", *(f"- {as_text(one.question)}" for one in rest)]))
    prompt = "\n\n".join(texts)
    return Interrupt(
        **msgspec.structs.asdict(shown),
        reason=REFUSED if refused else "input_required",
        value=first.value,
        prompt="" if prompt == as_text(shown.question) else prompt,
        others=rest,
        questions={one.id: one.value for one in asked} if others else {},
    )


def _open(asked: Asked) -> OpenQuestion:
    details = asked.value if isinstance(asked.value, dict) else {}
    options, hint = details.get("options"), details.get("schema")
    question: Any = as_text(asked.value) if isinstance(asked.value, str) else asked.value
    if (review := review_of(asked.value, asked.schema)) is not None:
        question, options = review.text, review.options
    elif (key := _asking_key(details)) is not None:
        question = details[key]
    elif "question" in details:
        question = details["question"]
    return OpenQuestion(
        id=asked.id,
        question=question,
        options=options if isinstance(options, list) else _choices(asked.schema),
        schema=asked.schema or (hint if isinstance(hint, dict) else None),
        strict=asked.schema is not None,
        call_id=asked.call_id,
    )


def _asking_key(details: Mapping[str, Any]) -> str | None:
    """The key under which an object asks in words, if it does."""
    return next(
        (key for key in ASKING_KEYS if isinstance(details.get(key), str) and details[key]), None
    )


def _choices(schema: Mapping[str, Any] | None) -> list[Any] | None:
    """What a schema lets choose from, if it is a choice."""
    choices = schema.get("enum") if schema is not None else None
    return choices if isinstance(choices, list) else None


def _prompt(asked: Asked) -> str:
    """A question with all that must be read before answering it."""
    if (review := review_of(asked.value, asked.schema)) is not None:
        return f"{review.text}\n\n{review.help}"
    details = asked.value if isinstance(asked.value, dict) else {}
    key = _asking_key(details)
    if key is None:
        return as_text(_open(asked).question)
    more = [
        f"{name}: {_cut(as_text(value), DETAIL_LIMIT)}"
        for name, value in details.items()
        if name not in (key, *HINTS)
    ]
    return "\n\n".join([details[key], *(["\n".join(more)] if more else [])])


def breakpoint_of(checkpoint_id: str, following: Sequence[str], state: Any) -> Interrupt:
    """The event for a graph that stops by itself before `following`, the nodes that come next."""
    shown = draft_of(state)
    nodes = " and ".join(f"`{name}`" for name in following)
    question = f"The graph has stopped before {nodes or 'its end'}. Shall it go on?"
    draft = (
        "\n\n".join(filter(None, map(_words, shown.values())))
        if isinstance(shown, dict)
        else _words(shown)
    )
    return Interrupt(
        id=checkpoint_id,
        question=question,
        reason=BREAKPOINT,
        options=["yes", "no"],
        value={"next": list(following), "state": shown},
        prompt=f"{draft}\n\n{question}" if draft else "",
    )


def unsaid(question: Interrupt, said: str) -> Interrupt:
    """Return a question without the draft that people have read already, because an agent said it."""
    if not said or not question.prompt.startswith(f"{said}{GAP}"):
        return question
    rest = question.prompt.removeprefix(f"{said}{GAP}")
    return msgspec.structs.replace(
        question, prompt="" if rest == as_text(question.question) else rest
    )


def draft_of(state: Any) -> Any:
    """What of a graph's state, in plain values, a human must see before it goes on: bounded."""
    if not isinstance(state, dict):
        return _bounded(state, STATE_LIMIT)
    shown: dict[str, Any] = {}
    left = STATE_LIMIT
    for name, value in state.items():
        short = _bounded(value, min(left, TEXT_LIMIT))
        if left > 0 and short not in (None, "", [], {}):
            shown[name] = short
            left -= len(name) + len(as_text(short))
    return shown


def _bounded(value: Any, limit: int) -> Any:
    """A value of which no text is longer than this; nothing if it is longer as a whole, unless it is a message."""
    if isinstance(value, str):
        return _cut(value, limit)
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        calls = [
            call | {"args": _shortened(call.get("args"), limit)}
            for call in value.get("tool_calls") or ()
        ]
        return (
            value
            | {"content": _cut(value["content"], limit)}
            | ({"tool_calls": calls[:CALLS]} if calls else {})
        )
    return value if len(as_text(value)) <= limit else None


def _shortened(args: Any, limit: int) -> Any:
    """A tool call's arguments; the beginning of their text if they are too long."""
    text = as_text(args)
    return args if len(text) <= limit else _cut(text, limit)


def _words(value: Any) -> str:
    """The words of a part of a state: of a message its text and the tools that it calls."""
    if not isinstance(value, dict):
        return value if isinstance(value, str) else ""
    calls = [
        f"{call.get('name')}({as_text(call.get('args'))})" for call in value.get("tool_calls") or ()
    ]
    return "\n".join([*filter(None, [value.get("content")]), *calls])


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def stopped_text(asked: Interrupt) -> str:
    """What a run says that ends at a breakpoint because the human said no."""
    following = asked.value.get("next") if isinstance(asked.value, dict) else None
    nodes = " and ".join(f"`{name}`" for name in following or ())
    return f"Stopped before {nodes}." if nodes else "Stopped."


# -- reading ----------------------------------------------------------------------------------------


def read_answer(asked: Interrupt, said: Any, question: str | None = None) -> Reading:
    """What an answer means. It is for the question with id `question`; if there is none, for those whose
    ids are the keys of the answer, or else for the oldest.

    Raises `UnknownQuestion`, `AnswerUnclear`, `AnswerInvalid`.
    """
    known = {one.id: one for one in asked.open}
    if question is not None and question not in known:
        raise UnknownQuestion
    answers = (
        {question: said}
        if question is not None
        else _by_question(said, list(known)) or {asked.id: said}
    )
    if not answers.keys() <= known.keys():
        raise UnknownQuestion
    first = next(one for one in known if one in answers)
    if asked.reason == BREAKPOINT:
        return Reading(first, {}, stops=not _agrees(answers[first]))
    resume = {
        id_: _read(known[id_], asked.questions.get(id_, asked.value), given)
        for id_, given in answers.items()
    }
    return Reading(first, resume)


def _by_question(said: Any, known: Sequence[str]) -> dict[str, Any] | None:
    """Answers by question, if that is what an object says, or a text that is one as JSON."""
    if (
        isinstance(said, str)
        and said.lstrip().startswith("{")
        and any(id_ in said for id_ in known)
    ):
        said = _as_json(said)
    if not isinstance(said, dict) or not said:
        return None
    named = any(id_ in said for id_ in known) or all(_ID.fullmatch(key) for key in said)
    return said if named else None


def _agrees(said: Any) -> bool:
    answer = consent(said)
    if answer is None:
        raise AnswerUnclear("The graph has stopped and waits for a yes or a no.")
    return answer.agrees


def _read(question: OpenQuestion, value: Any, said: Any) -> Any:
    """What the graph is given for one question."""
    review = review_of(value, question.schema)
    if review is not None:
        answer = review.read(said)
    elif question.strict:
        answer = _fitted(said, question.schema)
    else:
        answer = _chosen(said, question.options or [])
    flaw = misfit(answer, question.schema) if question.strict else None
    if flaw is not None:
        raise AnswerInvalid(f"The answer does not fit: {flaw}.")
    return answer


def _fitted(said: Any, schema: Any) -> Any:
    """An answer as its schema wants it: a text may stand for a number, an object, a yes or a no."""
    if not isinstance(said, str) or misfit(said, schema) is None:
        return said
    answer = consent(said)
    candidates = [_as_json(said), *([answer.agrees] if answer is not None else [])]
    return next(
        (one for one in candidates if one is not None and misfit(one, schema) is None), said
    )


def _chosen(said: Any, options: Sequence[Any]) -> Any:
    """An answer as it is, unless it is the text of an option that is no text: "false" must not count as true."""
    if not isinstance(said, str) or said in options:
        return said
    texts = {as_text(option).lower(): option for option in options if not isinstance(option, str)}
    if (text := said.strip().lower()) in texts:
        return texts[text]
    answer = (
        consent(said) if options and all(isinstance(option, bool) for option in options) else None
    )
    return said if answer is None else answer.agrees


def _as_json(text: str) -> Any:
    """A text as JSON, None if it is not."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
