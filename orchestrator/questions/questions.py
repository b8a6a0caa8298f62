"""Questions to a human: shows a graph's interrupts, and reads the answers to them. Pure."""

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
"""The reason of an interrupt without a question: `interrupt_before` or `interrupt_after`."""
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
"""Keys under which an object may have its question, in the order in which they are tried."""
HINTS = ("options", "schema")
"""Keys of an object that are not shown with its question."""
DETAIL_LIMIT = 4000
"""Characters shown of each further field of a question."""
TEXT_LIMIT = 2000
"""Characters shown of each text of a graph's state at a breakpoint."""
STATE_LIMIT = 16_000
"""Characters shown of a graph's whole state at a breakpoint."""
CALLS = 10
"""Tool calls shown of one message at a breakpoint."""
_ID = re.compile(r"[0-9a-f]{32}")
"""The id of an interrupt."""


class GraphQuestion(NamedTuple):
    """One interrupt of a graph, in plain values."""

    id: str
    value: Any
    schema: dict[str, Any] | None = None
    """The schema that an answer must fit (`response_schema`)."""
    call_id: str | None = None


class Reading(NamedTuple):
    """The meaning of an answer: which question it is for, and what the graph receives."""

    id: str
    resume: dict[str, Any]
    stops: bool = False
    """Whether the run ends: a no at a breakpoint."""


# -- showing --------------------------------------------------------------------------------------


def interrupt_of(questions: Sequence[GraphQuestion], refused: bool = False) -> Interrupt:
    """Return the event for what a graph asks, the oldest question first."""
    first, *others = questions
    shown, *rest = [_open(question) for question in questions]
    refusal = "The graph did not take that answer. Please answer again." if refused else ""
    listed = [f"- {as_text(question.question)}" for question in rest]
    also = "\n".join(["Also open:", *listed]) if rest else ""
    prompt = "\n\n".join(filter(None, [refusal, _prompt(first), also]))
    return Interrupt(
        **msgspec.structs.asdict(shown),
        reason=REFUSED if refused else "input_required",
        value=first.value,
        prompt="" if prompt == as_text(shown.question) else prompt,
        others=rest,
        questions={question.id: question.value for question in questions} if others else {},
    )


def _open(question: GraphQuestion) -> OpenQuestion:
    details = question.value if isinstance(question.value, dict) else {}
    options, hint = details.get("options"), details.get("schema")
    words: Any = as_text(question.value) if isinstance(question.value, str) else question.value
    if (review := review_of(question.value, question.schema)) is not None:
        words, options = review.text, review.options
    elif (key := _asking_key(details)) is not None:
        words = details[key]
    elif "question" in details:
        words = details["question"]
    return OpenQuestion(
        id=question.id,
        question=words,
        options=options if isinstance(options, list) else _choices(question.schema),
        schema=question.schema or (hint if isinstance(hint, dict) else None),
        strict=question.schema is not None,
        call_id=question.call_id,
    )


def _asking_key(details: Mapping[str, Any]) -> str | None:
    """Return the key under which an object asks in words; None if it does not."""
    for key in ASKING_KEYS:
        if isinstance(details.get(key), str) and details[key]:
            return key
    return None


def _choices(schema: Mapping[str, Any] | None) -> list[Any] | None:
    """Return the values that a schema lets choose from; None if it is not a choice."""
    choices = schema.get("enum") if schema is not None else None
    return choices if isinstance(choices, list) else None


def _prompt(question: GraphQuestion) -> str:
    """Return a question with all that must be read before answering it."""
    if (review := review_of(question.value, question.schema)) is not None:
        return f"{review.text}\n\n{review.help}"
    details = question.value if isinstance(question.value, dict) else {}
    key = _asking_key(details)
    if key is None:
        return as_text(_open(question).question)
    more = [
        f"{name}: {_cut(as_text(value), DETAIL_LIMIT)}"
        for name, value in details.items()
        if name not in (key, *HINTS)
    ]
    return "\n\n".join([details[key], *(["\n".join(more)] if more else [])])


def breakpoint_of(checkpoint_id: str, following: Sequence[str], state: Any) -> Interrupt:
    """Return the event for a graph that has stopped by itself before the nodes `following`."""
    shown = draft_of(state)
    nodes = " and ".join(f"`{name}`" for name in following)
    question = f"The graph has stopped before {nodes or 'its end'}. Shall it go on?"
    values = shown.values() if isinstance(shown, dict) else [shown]
    draft = "\n\n".join(filter(None, map(_words, values)))
    return Interrupt(
        id=checkpoint_id,
        question=question,
        reason=BREAKPOINT,
        options=["yes", "no"],
        value={"next": list(following), "state": shown},
        prompt=f"{draft}\n\n{question}" if draft else "",
    )


def unsaid(question: Interrupt, shown: str) -> Interrupt:
    """Return a question without the draft that an agent has shown already."""
    if not shown or not question.prompt.startswith(f"{shown}{GAP}"):
        return question
    rest = question.prompt.removeprefix(f"{shown}{GAP}")
    prompt = "" if rest == as_text(question.question) else rest
    return msgspec.structs.replace(question, prompt=prompt)


def draft_of(state: Any) -> Any:
    """Return what of a graph's state a human must see before it goes on, bounded."""
    if not isinstance(state, dict):
        return _bounded(state, STATE_LIMIT)
    shown: dict[str, Any] = {}
    room = STATE_LIMIT
    for name, value in state.items():
        short = _bounded(value, min(room, TEXT_LIMIT))
        if room > 0 and short not in (None, "", [], {}):
            shown[name] = short
            room -= len(name) + len(as_text(short))
    return shown


def _bounded(value: Any, limit: int) -> Any:
    """Return a value if it is short enough, else None; of texts and messages the beginning."""
    if isinstance(value, str):
        return _cut(value, limit)
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        calls = [
            call | {"args": _shortened(call.get("args"), limit)}
            for call in value.get("tool_calls") or ()
        ]
        message = value | {"content": _cut(value["content"], limit)}
        return message | {"tool_calls": calls[:CALLS]} if calls else message
    return value if len(as_text(value)) <= limit else None


def _shortened(args: Any, limit: int) -> Any:
    """Return a tool call's arguments, or the beginning of their text if they are too long."""
    text = as_text(args)
    return args if len(text) <= limit else _cut(text, limit)


def _words(value: Any) -> str:
    """Return the words of a part of a state: of a message its text and its tool calls."""
    if not isinstance(value, dict):
        return value if isinstance(value, str) else ""
    calls = [
        f"{call.get('name')}({as_text(call.get('args'))})" for call in value.get("tool_calls") or ()
    ]
    return "\n".join([*filter(None, [value.get("content")]), *calls])


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def stopped_text(question: Interrupt) -> str:
    """Return the answer of a run that ends at a breakpoint because the human said no."""
    following = question.value.get("next") if isinstance(question.value, dict) else None
    nodes = " and ".join(f"`{name}`" for name in following or ())
    return f"Stopped before {nodes}." if nodes else "Stopped."


# -- reading --------------------------------------------------------------------------------------


def read_answer(interrupt: Interrupt, answer: Any, question: str | None = None) -> Reading:
    """Return what an answer means.

    It is for the question with id `question`; without one, for the questions whose ids are the keys
    of the answer, or else for the oldest. Raises `UnknownQuestion`, `AnswerUnclear`,
    `AnswerInvalid`.
    """
    questions = {each.id: each for each in interrupt.open}
    if question is not None:
        answers = {question: answer}
    else:
        answers = _by_question(answer, list(questions)) or {interrupt.id: answer}
    if not answers.keys() <= questions.keys():
        raise UnknownQuestion
    first = next(id_ for id_ in questions if id_ in answers)
    if interrupt.reason == BREAKPOINT:
        return Reading(first, {}, stops=not _agrees(answers[first]))
    resume = {}
    for id_, one_answer in answers.items():
        value = interrupt.questions.get(id_, interrupt.value)
        resume[id_] = _read(questions[id_], value, one_answer)
    return Reading(first, resume)


def _by_question(answer: Any, ids: Sequence[str]) -> dict[str, Any] | None:
    """Return answers by question, if an object or a JSON text holds such; else None."""
    if isinstance(answer, str) and answer.lstrip().startswith("{"):
        names_one = any(id_ in answer for id_ in ids)
        answer = _as_json(answer) if names_one else None
    if not isinstance(answer, dict) or not answer:
        return None
    is_by_id = any(id_ in answer for id_ in ids) or all(_ID.fullmatch(key) for key in answer)
    return answer if is_by_id else None


def _agrees(answer: Any) -> bool:
    decision = consent(answer)
    if decision is None:
        raise AnswerUnclear("The graph has stopped and waits for a yes or a no.")
    return decision.agrees


def _read(question: OpenQuestion, value: Any, answer: Any) -> Any:
    """Return what the graph receives for one question, in which `value` is what it asked with."""
    review = review_of(value, question.schema)
    if review is not None:
        reading = review.read(answer)
    elif question.strict:
        reading = _fitted(answer, question.schema)
    else:
        reading = _chosen(answer, question.options or [])
    flaw = misfit(reading, question.schema) if question.strict else None
    if flaw is not None:
        raise AnswerInvalid(f"The answer does not fit: {flaw}.")
    return reading


def _fitted(answer: Any, schema: Any) -> Any:
    """Return an answer as its schema wants it: a text may mean a number, an object or a yes."""
    if not isinstance(answer, str) or misfit(answer, schema) is None:
        return answer
    decision = consent(answer)
    for reading in (_as_json(answer), decision.agrees if decision is not None else None):
        if reading is not None and misfit(reading, schema) is None:
            return reading
    return answer


def _chosen(answer: Any, options: Sequence[Any]) -> Any:
    """Return the option that a text stands for, or else the answer as it is.

    Options need not be texts: "false" must not count as true.
    """
    if not isinstance(answer, str) or answer in options:
        return answer
    texts = {as_text(option).lower(): option for option in options if not isinstance(option, str)}
    if (text := answer.strip().lower()) in texts:
        return texts[text]
    is_yes_or_no = bool(options) and all(isinstance(option, bool) for option in options)
    decision = consent(answer) if is_yes_or_no else None
    return answer if decision is None else decision.agrees


def _as_json(text: str) -> Any:
    """Return a text decoded as JSON; None if it is not valid."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
