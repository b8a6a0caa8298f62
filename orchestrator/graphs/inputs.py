"""Maps a message to a graph's input, and a request's values to its context, by the graph's schemas.

The message goes to the field that the graph's entry names (`input`), else to `messages`, else to a
text field with a usual name (`TEXT_KEYS`), else to the only list of messages, else to the only text
field. The request's `inputs` fill other fields by name.
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
"""Text fields that hold the user's words, also in a graph that has `messages` too."""
TEXT_KEYS = (
    *WORDS,
    *("query", "message", "prompt", "request", "task"),
    *("topic", "goal", "objective", "text", "content"),
)
"""Text fields that take the message if there are several, the likeliest first."""
AS_MAPPING = "as a mapping"
"""In `Annotated[schema, AS_MAPPING]`: pass the fields as a mapping, not as an instance."""


@dataclass(frozen=True)
class InputForm:
    """The form of a graph's input: an object with fields, or the message as the only value."""

    fields: tuple[Field, ...]
    target: Field | None
    """The field that takes the message; None if no field evidently does."""
    whole: bool = False
    """Whether the input is the value of `target` itself."""
    closed: bool = True
    """Whether the graph refuses other fields."""
    schema: Any = None
    """The class that declares the fields, if there is one."""
    build: Callable[..., Any] = dict

    def fill(
        self,
        message: BaseMessage,
        history: Sequence[BaseMessage] = (),
        inputs: Mapping[str, Any] | None = None,
        first: bool = True,
    ) -> Any:
        """Return the input for a message and the request's `inputs`. Raises `BadInput`.

        If the message is not the `first` of its thread, the graph may have earlier values, so
        fields may be missing.
        """
        if self.whole and inputs:
            raise BadInput("This graph takes one message, and no `inputs`.")
        if self.target is None and not inputs:
            raise BadInput(f"This graph takes {self.names}: {self.remedy}.")
        try:
            return self._filled([*history, message], dict(inputs or {}), first)
        except BadInput:
            raise
        except ValidationError as error:
            log.warning("inputs were refused", exc_info=error)
            raise BadInput(f"The `inputs` are not valid: {_summary(error.errors())}.") from error
        except Exception as error:  # in a class of the user's
            log.warning("inputs were refused", exc_info=error)
            raise BadInput from error

    @property
    def names(self) -> str:
        """The names of the fields, for an error."""
        return ", ".join(field.name for field in self.fields) or "nothing"

    @property
    def candidates(self) -> list[str]:
        """The names of the fields that can take a message."""
        return [field.name for field in self.fields if _takes_message(field)]

    @property
    def remedy(self) -> str:
        """What to do if no field evidently takes the message."""
        if not self.candidates:
            return "none of them takes a text, so fill them by `inputs`"
        return (
            "fill them by `inputs`, or name the one that takes the message in the graph's entry in"
            f' langgraph.json, for example `"input": "{self.candidates[0]}"`'
        )

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
        """Yield the fields that the message fills: the target, and beside a list also texts."""
        if self.target is None:
            return
        yield self.target
        for field in self.fields if is_list(self.target.kind) else ():
            if field.needed and field.name in WORDS and str in alternatives(field.kind):
                yield field

    def _check(self, values: Mapping[str, Any], first: bool) -> None:
        unknown = sorted(values.keys() - {field.name for field in self.fields})
        if unknown and self.closed:
            raise BadInput(f"This graph takes no {', '.join(unknown)}; it takes {self.names}.")
        if first and (needed := missing(self.fields, values)):
            raise BadInput(f"This graph needs {', '.join(needed)} in the request's `inputs`.")
        if not is_class(self.schema, BaseModel):
            return
        try:
            self.schema.model_validate(dict(values))
        except ValidationError as error:
            problems = [problem for problem in error.errors() if problem["loc"]]
            if first or any(problem["type"] != "missing" for problem in problems):
                raise


def form_of(graph: Graph, key: str | None = None) -> InputForm:
    """Return the form of a graph's input. Raises `ValueError` if it has no field `key`."""
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
    """Return the form of an input that is one value.

    `names` are the keys that the graph's function looks up in it.
    """
    if str in alternatives(kind) or may_be_message(kind):
        return _whole(kind)
    schema = next(iter(alternatives(kind)), Any)
    if fields := fields_of(schema):
        as_mapping = is_typeddict(schema) or AS_MAPPING in get_args(kind)
        build = dict if as_mapping else schema
        return InputForm(fields, _target(fields, key), schema=schema, build=build)
    if not is_mapping(schema):
        return _whole(kind)
    taken = tuple(Field(name, Any) for name in dict.fromkeys([*names, *([key] if key else [])]))
    taken = taken or (Field("messages", list), Field("input", str, needed=True))
    return InputForm(taken, _target(taken, key), closed=False)


def _whole(kind: Any) -> InputForm:
    return InputForm((), Field("", kind), whole=True)


def _kind_of(graph: Graph, channel: str) -> Any:
    return getattr(graph.channels[channel], "UpdateType", Any)


def _target(fields: Sequence[Field], key: str | None) -> Field | None:
    """Return the field that takes the message, if one evidently does. Raises `ValueError`."""
    by_name = {field.name: field for field in fields}
    if key is not None:
        if key not in by_name:
            raise ValueError(f"it takes no {key!r}: it takes {', '.join(by_name) or 'nothing'}")
        return by_name[key]
    if "messages" in by_name:
        return by_name["messages"]
    taking = [field for field in fields if may_be_text(field.kind) or may_be_message(field.kind)]
    for name in TEXT_KEYS:
        if by_name.get(name) in taking:
            return by_name[name]
    lists = [field for field in fields if holds_messages(field.kind)]
    texts = [field for field in fields if str in alternatives(field.kind)]
    for group in (lists, texts, taking):
        if len(group) == 1:
            return group[0]
    return None


def _takes_message(field: Field) -> bool:
    kind = field.kind
    return may_be_text(kind) or may_be_message(kind) or holds_messages(kind)


# -- values --------------------------------------------------------------------------------------


def _value(field: Field, messages: Sequence[BaseMessage]) -> Any:
    """Return the conversation, or its last message, as a field takes it. Raises `BadInput`."""
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
    """Return a message as a list whose members have this type holds it."""
    if may_be_anything(kind) or may_be_message(kind):
        return message
    role = "assistant" if isinstance(message, AIMessage) else "user"
    spoken = {"role": role, "content": str(message.text)}
    for member in alternatives(kind):
        if member is str:
            return spoken["content"]
        if is_mapping(member):
            return spoken
        if is_list(member):  # a pair
            return tuple(spoken.values())
        if spoken.keys() <= {field.name for field in fields_of(member)}:
            return member(**spoken)
    return message


# -- the parameter of an `@entrypoint` -----------------------------------------------------------


def _first_parameter(graph: Graph, channel: str) -> tuple[Any, list[str]]:
    """Return the type of an entrypoint's parameter, and the keys that are looked up in it."""
    kind = _kind_of(graph, channel)
    bound = next(iter(graph.nodes.values())).bound
    function = getattr(bound, "func", None) or getattr(bound, "afunc", None)
    if not inspect.isfunction(function) or not inspect.signature(function).parameters:
        return kind, []
    parameter = next(iter(inspect.signature(function).parameters))
    if isinstance(kind, str):  # `from __future__ import annotations`
        try:
            kind = get_type_hints(function, include_extras=True).get(parameter, Any)
        except Exception:  # names that only a type checker knows
            kind = Any
    return kind, _looked_up(function, parameter)


def _looked_up(function: Callable[..., Any], parameter: str) -> list[str]:
    """Return the constant keys of `parameter[...]` and `parameter.get(...)` in a function."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    keys = []
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(ast.Name(name), ast.Constant(str(key))) | ast.Call(
                ast.Attribute(ast.Name(name), "get"), [ast.Constant(str(key)), *_]
            ) if name == parameter:
                keys.append(key)
    return keys


# -- context -------------------------------------------------------------------------------------


def context_of(schema: Any, values: Mapping[str, Any]) -> Any:
    """Return a run's context: a request's values, by a graph's `context_schema` and its defaults.

    Values that the schema does not declare are ignored: they may be meant for another graph. A
    graph without a schema gets all values. Raises `BadContext`.
    """
    fields = fields_of(schema)
    if not fields:
        return dict(values)
    declared = {field.name: values[field.name] for field in fields if field.name in values}
    if is_typeddict(schema):
        return declared
    if needed := missing(fields, declared):
        raise BadContext(f"This graph needs {', '.join(needed)} in the request's `context`.")
    try:
        return schema(**declared)
    except ValidationError as error:
        log.warning("a context was refused", exc_info=error)
        raise BadContext(f"The `context` is not valid: {_summary(error.errors())}.") from error
    except Exception as error:  # in a class of the user's
        log.warning("a context was refused", exc_info=error)
        raise BadContext from error


def _summary(errors: Sequence[Any]) -> str:
    """Return what is wrong, by field, for the client.

    Messages of a graph's own validators may be internal: only the log has them. Missing fields are
    listed only if nothing else is wrong, because the graph may have them from before.
    """
    lines = []
    wrong = [error for error in errors if error["type"] != "missing"]
    for error in (wrong or errors)[:3]:
        own = error["type"] in ("value_error", "assertion_error")
        place = ".".join(str(part) for part in error["loc"]) or "all"
        lines.append(f"{place}: {'it is refused' if own else error['msg']}")
    return "; ".join(lines)
