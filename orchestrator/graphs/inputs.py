"""How a message becomes a graph's input, and a request's values its context, by graphs' schemas.

The message goes to the field that the graph's entry names (`input`), else to `messages`, else to a
text that is called like a question, else to the one list of messages, else to the one text. The
request's `inputs` fill other fields, by name.
"""

from __future__ import annotations

import ast
import inspect
import logging
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from pydantic import BaseModel, ValidationError
from typing_extensions import is_typeddict

from antiphon.orchestrator.errors import BadContext, BadInput
from antiphon.orchestrator.graphs.schemas import (
    Field,
    alternatives,
    fields_of,
    holds_messages,
    is_class,
    is_list,
    is_mapping,
    may_be_anything,
    may_be_message,
    may_be_text,
    member_of,
    missing,
)

log = logging.getLogger("antiphon.run")

Graph = Pregel[Any, Any, Any, Any]
WORDS = ("user_input", "user_message", "user_query", "user_question", "question", "input")
"""Texts that are what the user said, also in a graph that keeps `messages` besides."""
TEXT_KEYS = (
    *WORDS,
    *("query", "message", "prompt", "request", "task"),
    *("topic", "goal", "objective", "text", "content"),
)
"""Texts that take the message if there are several, the likeliest first."""
AS_MAPPING = "as a mapping"
"""In `Annotated[schema, AS_MAPPING]`: the fields are wanted as a mapping, not as an instance."""


@dataclass(frozen=True)
class InputForm:
    """What a graph takes as its input: an object with fields, or one value for the message."""

    fields: tuple[Field, ...]
    target: Field | None
    """What takes the message; None if nothing evidently does."""
    whole: bool = False
    """Whether the input is the target's value itself."""
    closed: bool = True
    """Whether the graph takes no other fields."""
    schema: Any = None
    """The class of the fields, if there is one."""
    build: Callable[..., Any] = dict

    def fill(
        self,
        message: BaseMessage,
        history: Sequence[BaseMessage] = (),
        inputs: Mapping[str, Any] | None = None,
        first: bool = True,
    ) -> Any:
        """The input for a message and the request's `inputs`. Raises `BadInput`.

        If the message is not the `first` of its thread, the graph may have earlier values.
        """
        if self.whole and inputs:
            raise BadInput("This graph takes one message, and no `inputs`.")
        if self.target is None and not inputs:
            raise BadInput(
                f"This graph takes {self._known}: fill them by `inputs`, or let the graph's entry in"
                " langgraph.json name the one that takes the message by `input`."
            )
        try:
            return self._filled([*history, message], dict(inputs or {}), first)
        except BadInput:
            raise
        except ValidationError as error:
            log.warning("inputs were refused", exc_info=error)
            raise BadInput(f"The `inputs` are not valid: {_listing(error.errors())}.") from error
        except Exception as error:  # in a class of the user's
            log.warning("inputs were refused", exc_info=error)
            raise BadInput from error

    @property
    def _known(self) -> str:
        return ", ".join(field.name for field in self.fields) or "nothing"

    def _filled(self, messages: Sequence[BaseMessage], values: dict[str, Any], first: bool) -> Any:
        if self.whole and self.target is not None:
            return _value(self.target, messages)
        for field in self._spoken():
            if field.name not in values:
                values[field.name] = _value(field, messages)
            elif isinstance(values[field.name], list):
                values[field.name] = [*values[field.name], *_listed(field, messages[-1:])]
        for field in self.fields:
            if field.needed and field.checked and holds_messages(field.kind):
                values.setdefault(field.name, _listed(field, messages[:-1]))
        self._check(values, first)
        return self.build(**values)

    def _spoken(self) -> Iterator[Field]:
        """The fields that the message fills: besides a list of messages also what the user said."""
        if self.target is None:
            return
        yield self.target
        for field in self.fields if is_list(self.target.kind) else ():
            if field.needed and field.name in WORDS and str in alternatives(field.kind):
                yield field

    def _check(self, values: Mapping[str, Any], first: bool) -> None:
        unknown = sorted(values.keys() - {field.name for field in self.fields})
        if unknown and self.closed:
            raise BadInput(f"This graph takes no {', '.join(unknown)}; it takes {self._known}.")
        if first and (needed := missing(self.fields, values)):
            raise BadInput(f"This graph needs {', '.join(needed)} in the request's `inputs`.")
        if not is_class(self.schema, BaseModel):
            return
        try:
            self.schema.model_validate(dict(values))
        except ValidationError as error:
            if first or any(one["loc"] and one["type"] != "missing" for one in error.errors()):
                raise


def form_of(graph: Graph, key: str | None = None) -> InputForm:
    """How a graph takes a message. Raises `ValueError` if it has no field `key`."""
    builder = getattr(graph, "builder", None)
    if isinstance(builder, StateGraph):
        schema = builder.input_schema
        if "__root__" in builder.schemas[schema]:
            return _form_of_value(schema, (), key)
        kept = tuple(field for field in fields_of(schema) if field.name in builder.channels)
        return InputForm(kept, _target(kept, key), schema=schema)
    if isinstance(graph.input_channels, str):
        return _form_of_value(*_first_parameter(graph, graph.input_channels), key)
    taken = tuple(Field(name, _kind_of(graph, name)) for name in graph.input_channels)
    return InputForm(taken, _target(taken, key))


def _form_of_value(kind: Any, names: Sequence[str], key: str | None) -> InputForm:
    """The form of an input that is one value; `names` are what its function looks up in it."""
    if str in alternatives(kind) or may_be_message(kind):
        return _whole(kind)
    schema = next(iter(alternatives(kind)), Any)
    if found := fields_of(schema):
        as_mapping = is_typeddict(schema) or AS_MAPPING in get_args(kind)
        build = dict if as_mapping else schema
        return InputForm(found, _target(found, key), schema=schema, build=build)
    if not is_mapping(schema):
        return _whole(kind)
    taken = tuple(Field(name, Any) for name in dict.fromkeys([*names, *([key] if key else [])]))
    taken = taken or (Field("messages", list), Field("input", str, needed=True))
    return InputForm(taken, _target(taken, key), closed=False)


def _whole(kind: Any) -> InputForm:
    return InputForm((), Field("", kind), whole=True)


def _kind_of(graph: Graph, channel: str) -> Any:
    return getattr(graph.channels[channel], "UpdateType", Any)


def _target(known: Sequence[Field], key: str | None) -> Field | None:
    """The field that takes the message."""
    by_name = {field.name: field for field in known}
    if key is not None:
        if key not in by_name:
            raise ValueError(f"it takes no {key!r}: it takes {', '.join(by_name) or 'nothing'}")
        return by_name[key]
    if "messages" in by_name:
        return by_name["messages"]
    taking = [one for one in known if may_be_text(one.kind) or may_be_message(one.kind)]
    for name in TEXT_KEYS:
        if by_name.get(name) in taking:
            return by_name[name]
    lists = [field for field in known if holds_messages(field.kind)]
    texts = [field for field in known if str in alternatives(field.kind)]
    return next((likely[0] for likely in (lists, texts, taking) if len(likely) == 1), None)


# -- values --------------------------------------------------------------------------------------


def _value(field: Field, messages: Sequence[BaseMessage]) -> Any:
    """The conversation, or the last of its messages, as a field takes it. Raises `BadInput`."""
    if is_list(field.kind) or (field.name == "messages" and may_be_anything(field.kind)):
        return _listed(field, messages)
    if may_be_text(field.kind):
        return str(messages[-1].text)
    if may_be_message(field.kind):
        return messages[-1]
    raise BadInput(f"This graph takes no text{f' as {field.name}' if field.name else ''}.")


def _listed(field: Field, messages: Sequence[BaseMessage]) -> list[Any]:
    member = member_of(field.kind)
    return [_as_member(member, message) for message in messages]


def _as_member(kind: Any, message: BaseMessage) -> Any:
    """A message as a list of such things holds it."""
    if may_be_anything(kind) or may_be_message(kind):
        return message
    role = "assistant" if isinstance(message, AIMessage) else "user"
    spoken = {"role": role, "content": str(message.text)}
    for one in alternatives(kind):
        if one is str:
            return spoken["content"]
        if is_mapping(one):
            return spoken
        if is_list(one):  # a pair
            return tuple(spoken.values())
        if spoken.keys() <= {field.name for field in fields_of(one)}:
            return one(**spoken)
    return message


# -- what the function of an `@entrypoint` takes --------------------------------------------------


def _first_parameter(graph: Graph, channel: str) -> tuple[Any, list[str]]:
    """The type of what a function takes, and the names that it looks up in it."""
    kind = _kind_of(graph, channel)
    bound = next(iter(graph.nodes.values())).bound
    function = getattr(bound, "func", None) or getattr(bound, "afunc", None)
    if not inspect.isfunction(function) or not inspect.signature(function).parameters:
        return kind, []
    parameter = next(iter(inspect.signature(function).parameters))
    if isinstance(kind, str):  # `from __future__ import annotations`
        try:
            kind = get_type_hints(function, include_extras=True).get(parameter, Any)
        except Exception:  # names that exist for a type checker only
            kind = Any
    return kind, _looked_up(function, parameter)


def _looked_up(function: Callable[..., Any], parameter: str) -> list[str]:
    """The constant keys of `parameter[...]` and `parameter.get(...)` in a function's source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(ast.Name(name), ast.Constant(str(key))) | ast.Call(
                ast.Attribute(ast.Name(name), "get"), [ast.Constant(str(key)), *_]
            ) if name == parameter:
                found.append(key)
    return found


# -- context -------------------------------------------------------------------------------------


def context_of(schema: Any, values: Mapping[str, Any]) -> Any:
    """A run's context: a request's values for a graph's `context_schema`, and its defaults.

    Values that the schema does not have are left out; they may be meant for another graph. A graph
    without a schema gets all of them. Raises `BadContext`.
    """
    known = fields_of(schema)
    if not known:
        return dict(values)
    given = {field.name: values[field.name] for field in known if field.name in values}
    if is_typeddict(schema):
        return given
    if needed := missing(known, given):
        raise BadContext(f"This graph needs {', '.join(needed)} in the request's `context`.")
    try:
        return schema(**given)
    except ValidationError as error:
        log.warning("a context was refused", exc_info=error)
        raise BadContext(f"The `context` is not valid: {_listing(error.errors())}.") from error
    except Exception as error:  # in a class of the user's
        log.warning("a context was refused", exc_info=error)
        raise BadContext from error


def _listing(errors: Sequence[Any]) -> str:
    """What is wrong, by field. What a graph's own validators say may be internal: the log has it.

    What is missing is listed only if nothing else is wrong: it may be there from before.
    """
    told = []
    wrong = [error for error in errors if error["type"] != "missing"]
    for error in (wrong or errors)[:3]:
        own = error["type"] in ("value_error", "assertion_error")
        place = ".".join(str(part) for part in error["loc"]) or "all"
        told.append(f"{place}: {'it is refused' if own else error['msg']}")
    return "; ".join(told)
