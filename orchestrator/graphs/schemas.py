"""Reads the types of users' graphs: their fields, and what a field can hold."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from typing import (
    Annotated,
    Any,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from langchain_core.messages import BaseMessage
from langgraph.graph import add_messages
from pydantic import BaseModel
from typing_extensions import ReadOnly, TypeAliasType, is_typeddict

ANYTHING = (Any, object, inspect.Parameter.empty)
LISTS = (
    list,
    tuple,
    collections.abc.Iterable,
    collections.abc.MutableSequence,
    collections.abc.Sequence,
)
WRAPPERS = (Annotated, NotRequired, ReadOnly, Required)


class Field(NamedTuple):
    """A field of an object.

    `needed` means that its schema has no default for it; `checked`, that omitting it is an error.
    """

    name: str
    kind: Any
    needed: bool = False
    checked: bool = False


def fields_of(schema: Any) -> tuple[Field, ...]:
    """Return the fields of a class that describes an object; none for any other type."""
    if not inspect.isclass(schema) or not (annotations := _annotations(schema)):
        return ()
    if issubclass(schema, BaseModel):
        return tuple(
            Field(name, annotations.get(name, Any), needed=field.is_required(), checked=True)
            for name, field in schema.model_fields.items()
        )
    if is_dataclass(schema):
        declared = [field for field in dataclasses.fields(schema) if field.init]
        return tuple(_of_dataclass(field, annotations.get(field.name, Any)) for field in declared)
    needed = getattr(schema, "__required_keys__", ()) if is_typeddict(schema) else ()
    return tuple(Field(name, kind, name in needed) for name, kind in annotations.items())


def _of_dataclass(field: dataclasses.Field[Any], kind: Any) -> Field:
    needed = field.default is MISSING and field.default_factory is MISSING
    return Field(field.name, kind, needed=needed, checked=True)


def missing(fields: Sequence[Field], values: Mapping[str, Any]) -> list[str]:
    """Return the names of fields that have no value but must have one."""
    required = [field.name for field in fields if field.checked and field.needed]
    return [name for name in required if name not in values]


def _annotations(schema: type) -> dict[str, Any]:
    try:
        return get_type_hints(schema, include_extras=True)
    except Exception:  # names that only a type checker knows
        return dict.fromkeys(inspect.get_annotations(schema), Any)


def alternatives(kind: Any) -> list[Any]:
    """Return the types that a value can have besides None, without annotations around them."""
    origin = get_origin(kind)
    if origin in WRAPPERS:
        return alternatives(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(kind) if member is not types.NoneType]
        return [inner for member in members for inner in alternatives(member)]
    if isinstance(kind, NewType):
        return alternatives(kind.__supertype__)
    if isinstance(kind, TypeAliasType):
        return alternatives(kind.__value__)
    return [kind]


def is_class(kind: Any, base: type) -> bool:
    """Return whether a type is a class derived from `base`."""
    return inspect.isclass(kind) and issubclass(kind, base)


def is_mapping(kind: Any) -> bool:
    """Return whether a type is a mapping, with or without known keys."""
    return is_typeddict(kind) or is_class(get_origin(kind) or kind, collections.abc.Mapping)


def may_be_text(kind: Any) -> bool:
    """Return whether a field can hold a text."""
    return any(member is str or member in ANYTHING for member in alternatives(kind))


def may_be_anything(kind: Any) -> bool:
    """Return whether a field can hold any value."""
    return any(member in ANYTHING for member in alternatives(kind))


def may_be_message(kind: Any) -> bool:
    """Return whether a field can hold a LangChain message."""
    return any(is_class(member, BaseMessage) for member in alternatives(kind))


def is_list(kind: Any) -> bool:
    """Return whether a field can hold a list."""
    return any((get_origin(member) or member) in LISTS for member in alternatives(kind))


def member_of(kind: Any) -> Any:
    """Return the type of a list's members; Any if it has none."""
    for member in alternatives(kind):
        if arguments := get_args(member):
            return arguments[0]
    return Any


def holds_messages(kind: Any) -> bool:
    """Return whether a field holds messages, by its reducer or by the type of its members."""
    while get_origin(kind) in WRAPPERS:
        if add_messages in get_args(kind)[1:]:
            return True
        kind = get_args(kind)[0]
    return is_list(kind) and may_be_message(member_of(kind))
