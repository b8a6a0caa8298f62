"""A message becomes the input of graphs with any schema; a request's values become their
context.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NewType, Required, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda
from langgraph.channels import EphemeralValue, LastValue
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph, add_messages
from langgraph.managed import IsLastStep
from langgraph.pregel import NodeBuilder, Pregel
from pydantic import BaseModel, Field, field_validator

from antiphon.orchestrator.errors import BadContext, BadInput
from antiphon.orchestrator.graphs.factories import as_graph
from antiphon.orchestrator.graphs.inputs import TEXT_KEYS, context_of, form_of
from tests.orchestrator.support import UNHURRIED

HISTORY = [HumanMessage("one"), AIMessage("two")]
SPOKEN = [*HISTORY, HumanMessage("three")]
ROLES = [("user", "one"), ("assistant", "two"), ("user", "three")]


async def nothing(state: Any) -> dict[str, Any]:
    return {}


def graph_of(state: Any, **options: Any) -> Any:
    return StateGraph(state, **options).add_node("node", nothing).add_edge(START, "node").compile()


def filled(state: Any, key: str | None = None, **inputs: Any) -> Any:
    """What a graph with this state is given for a third message, and a request's `inputs`."""
    return form_of(graph_of(state), key).fill(HumanMessage("three"), HISTORY, inputs)


def typed(**fields: Any) -> Any:
    return TypedDict("State", fields)  # type: ignore[operator]


# -- messages -----------------------------------------------------------------------------------


@dataclass
class OfClass:
    messages: Annotated[Sequence[AnyMessage], add_messages] = field(default_factory=list)
    last: IsLastStep = False


class OfModel(BaseModel):
    messages: Annotated[list[AnyMessage], add_messages] = []
    title: str = "none"


class Turn(BaseModel):
    role: str
    content: str
    at: int = 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Annotated[list[AnyMessage], add_messages], SPOKEN),
        (Annotated[list, add_messages], SPOKEN),
        (list, SPOKEN),
        (Any, SPOKEN),
        (list[BaseMessage] | None, SPOKEN),
        (Required[Sequence[BaseMessage]], SPOKEN),
        (list[str], [text for _, text in ROLES]),
        (list[dict], [{"role": role, "content": text} for role, text in ROLES]),
        (list[dict[str, str]] | None, [{"role": role, "content": text} for role, text in ROLES]),
        (
            list[typed(role=str, content=str)],
            [{"role": role, "content": text} for role, text in ROLES],
        ),
        (list[tuple[str, str]], ROLES),
        (
            Annotated[list[Turn], operator.add],
            [Turn(role=role, content=text) for role, text in ROLES],
        ),
        (str, "three"),
    ],
)
def test_the_conversation_goes_to_messages_in_their_own_form(kind: Any, expected: Any) -> None:
    assert filled(typed(messages=kind, summary=str)) == {"messages": expected}


@pytest.mark.parametrize(
    "state", [MessagesState, OfClass, OfModel, typed(messages=list, question=Literal["a"])]
)
def test_messages_come_before_every_text(state: Any) -> None:
    assert filled(state) == {"messages": SPOKEN}


def test_beside_messages_a_text_that_is_what_the_user_said_is_filled_if_it_is_needed() -> None:
    assert filled(typed(messages=list, question=str)) == {"messages": SPOKEN, "question": "three"}
    assert filled(typed(messages=list, question=str | None)) == {
        "messages": SPOKEN,
        "question": "three",
    }
    assert filled(typed(messages=list, topic=str)) == {"messages": SPOKEN}

    class Optionally(TypedDict, total=False):
        messages: list
        question: str

    assert filled(Optionally) == {"messages": SPOKEN}


def test_a_state_that_is_no_object_with_fields_is_given_what_it_is() -> None:
    assert filled(Annotated[list, add_messages]) == SPOKEN
    assert filled(dict) == {"messages": SPOKEN, "input": "three"}
    assert filled(dict, "topic", tone="dry") == {"topic": "three", "tone": "dry"}


# -- texts --------------------------------------------------------------------------------------

UserText = NewType("UserText", str)


@pytest.mark.parametrize(
    ("state", "key"),
    [
        (typed(topic=str), "topic"),
        (typed(changeme=str), "changeme"),
        (typed(changeme=Annotated[str | None, "note"], count=int), "changeme"),
        (typed(anything=UserText, tags=list[str]), "anything"),
        (typed(left=str, right=str, question=str), "question"),
        (typed(query=str, user_input=str), "user_input"),
        (typed(text=str, topic=str), "topic"),
        (typed(only=Any), "only"),
        (typed(input=str, chat_history=list[BaseMessage]), "input"),
    ],
)
def test_the_message_goes_to_the_text_that_means_it(state: Any, key: str) -> None:
    assert filled(state) == {key: "three"}


def test_a_list_of_messages_by_any_name_comes_before_an_unknown_text() -> None:
    assert filled(typed(talk=Annotated[list[AnyMessage], add_messages], summary=str)) == {
        "talk": SPOKEN
    }
    assert filled(typed(talk=list[BaseMessage], question=str)) == {"question": "three"}
    assert filled(typed(last=HumanMessage)) == {"last": SPOKEN[-1]}


def test_the_setting_names_the_field() -> None:
    assert filled(typed(left=str, right=str), "right") == {"right": "three"}
    assert filled(typed(messages=list, right=str), "right") == {"right": "three"}
    with pytest.raises(ValueError, match="it takes no 'middle': it takes left, right"):
        form_of(graph_of(typed(left=str, right=str)), "middle")


def test_only_the_input_schema_counts() -> None:
    graph = graph_of(typed(messages=list, topic=str, notes=str), input_schema=typed(topic=str))
    assert form_of(graph).fill(HumanMessage("three")) == {"topic": "three"}


@UNHURRIED
@given(
    st.sets(st.sampled_from(TEXT_KEYS), min_size=1), st.sets(st.sampled_from(["a1", "b1", "c1"]))
)
def test_the_likeliest_of_several_texts_is_taken_in_any_order(
    known: set[str], others: set[str]
) -> None:
    likeliest = min(known, key=TEXT_KEYS.index)
    for names in (sorted(known | others), sorted(known | others, reverse=True)):
        assert filled(typed(**dict.fromkeys(names, str))) == {likeliest: "three"}


# -- what a request adds, and what is refused ----------------------------------------------------


@dataclass(kw_only=True)
class Enrichment:
    topic: str
    extraction_schema: dict[str, Any]
    info: dict[str, Any] | None = None


class Strict(BaseModel):
    topic: str
    count: int = Field(ge=1)

    @field_validator("topic")
    @classmethod
    def is_fine(cls, value: str) -> str:
        if value == "secret":
            raise ValueError("connected to db://internal")
        return value


def test_inputs_fill_the_other_fields() -> None:
    assert filled(Enrichment, extraction_schema={"a": 1}) == {
        "topic": "three",
        "extraction_schema": {"a": 1},
    }
    assert filled(Enrichment, topic="birds", extraction_schema={}) == {
        "topic": "birds",
        "extraction_schema": {},
    }
    assert filled(typed(left=str, right=str), left="a") == {"left": "a"}
    assert filled(MessagesState, messages=[("ai", "hello")]) == {
        "messages": [("ai", "hello"), SPOKEN[-1]]
    }


HOW = (
    "fill them by `inputs`, or name the one that takes the message in the graph's entry in"
    ' langgraph.json, for example `"input": "left"`.'
)


@pytest.mark.parametrize(
    ("state", "inputs", "told"),
    [
        (Enrichment, {}, "This graph needs extraction_schema in the request's `inputs`."),
        (Strict, {}, "This graph needs count in the request's `inputs`."),
        (
            Strict,
            {"count": 0},
            "The `inputs` are not valid: count: Input should be greater than or equal to 1.",
        ),
        (
            Strict,
            {"count": 1, "topic": "secret"},
            "The `inputs` are not valid: topic: it is refused.",
        ),
        (typed(left=str, right=str), {}, f"This graph takes left, right: {HOW}"),
        (
            typed(count=int),
            {},
            "This graph takes count: none of them takes a text, so fill them by `inputs`.",
        ),
        (typed(topic=str), {"topc": 1}, "This graph takes no topc; it takes topic."),
    ],
)
def test_what_cannot_be_filled_is_refused_by_name(
    state: Any, inputs: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadInput) as refused:
        filled(state, **inputs)
    assert (refused.value.code, refused.value.message) == ("BAD_INPUT", told)


class Faulty(BaseModel):
    topic: str

    @field_validator("topic")
    @classmethod
    def breaks(cls, value: str) -> str:
        raise KeyError("db://internal")


def test_a_schema_that_breaks_refuses_without_its_own_words() -> None:
    with pytest.raises(BadInput) as refused:
        filled(Faulty)
    assert refused.value.message == "The graph cannot take this message."


def test_a_later_message_need_not_bring_what_an_earlier_one_brought() -> None:
    form = form_of(graph_of(Strict))
    assert form.fill(HumanMessage("three"), first=False) == {"topic": "three"}
    with pytest.raises(BadInput, match="count"):
        form.fill(HumanMessage("three"), (), {"count": 0}, first=False)


# -- functions and other runnables ---------------------------------------------------------------


def entry(kind: Any, result: Any = None) -> Any:
    async def workflow(given: Any) -> Any:
        return result

    workflow.__annotations__["given"] = kind
    return entrypoint()(workflow)


class Order(BaseModel):
    topic: str
    size: int = 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (str, "three"),
        (Any, "three"),
        (str | None, "three"),
        ("str", "three"),
        ("NoSuchName", "three"),
        (list[AnyMessage], SPOKEN),
        (list[BaseMessage], SPOKEN),
        (Sequence[dict], [{"role": role, "content": text} for role, text in ROLES]),
        (list[str], ["one", "two", "three"]),
        (HumanMessage, SPOKEN[-1]),
        (Order, Order(topic="three")),
        (Enrichment, BadInput),
        (typed(topic=str, tone=str), {"topic": "three"}),
        (MessagesState, {"messages": SPOKEN}),
        (dict, {"messages": SPOKEN, "input": "three"}),
        (int, BadInput),
    ],
)
def test_an_entrypoint_is_given_what_its_annotation_says(kind: Any, expected: Any) -> None:
    form = form_of(entry(kind))
    if expected is BadInput:
        with pytest.raises(BadInput):
            form.fill(HumanMessage("three"), HISTORY)
    else:
        assert form.fill(HumanMessage("three"), HISTORY) == expected


@entrypoint()
async def by_key(given: dict) -> str:
    return f"{given['topic']} {given.get('tone', 'plain')}"


@entrypoint()
def by_question(given: dict[str, Any]) -> str:
    return str(given["question"] + given["style"])


@entrypoint()
async def unannotated(given, *, previous=None):  # type: ignore[no-untyped-def]
    return given


def test_an_entrypoint_that_takes_a_dictionary_is_given_the_keys_that_it_looks_up() -> None:
    assert form_of(by_key).fill(HumanMessage("three")) == {"topic": "three"}
    assert form_of(by_key).fill(HumanMessage("three"), (), {"tone": "dry", "more": 1}) == {
        "topic": "three",
        "tone": "dry",
        "more": 1,
    }
    assert form_of(by_question).fill(HumanMessage("three")) == {"question": "three"}
    assert form_of(by_key, "told").fill(HumanMessage("three")) == {"told": "three"}
    assert form_of(unannotated).fill(HumanMessage("three")) == "three"


def test_a_bare_value_takes_no_inputs() -> None:
    with pytest.raises(BadInput, match="no `inputs`"):
        form_of(entry(str)).fill(HumanMessage("three"), (), {"more": 1})


def test_a_graph_of_bare_nodes_is_given_its_channels() -> None:
    def graph(**channels: Any) -> Any:
        node = NodeBuilder().subscribe_only("question").do(lambda text: text).write_to("answer")
        known = {name: EphemeralValue(kind) for name, kind in channels.items()} | {
            "answer": LastValue(str)
        }
        inputs = list(channels) if len(channels) > 1 else next(iter(channels))
        return Pregel(
            nodes={"n": node}, channels=known, input_channels=inputs, output_channels="answer"
        )

    assert form_of(graph(question=str)).fill(HumanMessage("three")) == "three"
    assert form_of(graph(question=str, other=int)).fill(HumanMessage("three")) == {
        "question": "three"
    }


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (ChatPromptTemplate.from_template("About {topic}"), "Human: About three"),
        (
            ChatPromptTemplate.from_messages([MessagesPlaceholder("messages")]),
            "Human: one\nAI: two\nHuman: three",
        ),
        (
            ChatPromptTemplate.from_messages(
                [MessagesPlaceholder("history"), ("user", "So {question}")]
            ),
            "Human: one\nAI: two\nHuman: So three",
        ),
        (RunnableLambda(lambda text: f"said {text}"), "said three"),
    ],
)
async def test_another_runnable_is_given_what_it_takes(prompt: Any, expected: str) -> None:
    graph = as_graph(
        "chain",
        prompt
        | RunnableLambda(lambda given: getattr(given, "to_string", lambda: given)())
        | StrOutputParser(),
    )
    given = form_of(graph).fill(HumanMessage("three"), HISTORY)
    assert type(given) in (str, dict)
    assert await graph.ainvoke(given) == expected


# -- context ------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Defaults:
    user: str = "default"
    size: int = 10
    shout: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise RuntimeError("connected to db://internal")
        self.shout = self.user.isupper()


@dataclass
class Needy:
    user: str


def test_a_context_has_the_schemas_defaults() -> None:
    assert context_of(Defaults, {}) == Defaults()
    assert context_of(Defaults, {"user": "ADA", "for_another_graph": 1}) == Defaults(user="ADA")
    assert context_of(Strict, {"topic": "x", "count": "3"}) == Strict(topic="x", count=3)
    assert context_of(typed(knob=str), {"knob": "x", "other": 1}) == {"knob": "x"}
    assert context_of(typed(knob=str), {}) == {}
    assert context_of(None, {"any": 1}) == {"any": 1}
    assert context_of(dict, {"any": 1}) == {"any": 1}


@pytest.mark.parametrize(
    ("schema", "values", "told"),
    [
        (Needy, {}, "This graph needs user in the request's `context`."),
        (Strict, {"topic": "x"}, "This graph needs count in the request's `context`."),
        (
            Strict,
            {"topic": 7, "count": 1},
            "The `context` is not valid: topic: Input should be a valid string.",
        ),
        (
            Strict,
            {"topic": "secret", "count": 1},
            "The `context` is not valid: topic: it is refused.",
        ),
        (Defaults, {"size": -1}, "The `context` is not valid."),
    ],
)
def test_a_context_that_does_not_fit_is_refused_by_name(
    schema: Any, values: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadContext) as refused:
        context_of(schema, values)
    assert (refused.value.code, refused.value.message) == ("BAD_CONTEXT", told)
