"""What the types of users' graphs say: which fields there are, and what goes into them."""

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

    `needed` says that its schema gives it no value; `checked`, that it is an error not to give one.
    """

    name: str
    kind: Any
    needed: bool = False
    checked: bool = False


def fields_of(schema: Any) -> tuple[Field, ...]:
    """The fields of a class that describes an object; none for any other type."""
    if not inspect.isclass(schema) or not (annotations := _annotations(schema)):
        return ()
    if issubclass(schema, BaseModel):
        return tuple(
            Field(name, annotations.get(name, Any), needed=one.is_required(), checked=True)
            for name, one in schema.model_fields.items()
        )
    if is_dataclass(schema):
        known = [one for one in dataclasses.fields(schema) if one.init]
        return tuple(_of_dataclass(one, annotations.get(one.name, Any)) for one in known)
    needed = getattr(schema, "__required_keys__", ()) if is_typeddict(schema) else ()
    return tuple(Field(name, kind, name in needed) for name, kind in annotations.items())


def _of_dataclass(field: dataclasses.Field[Any], kind: Any) -> Field:
    needed = field.default is MISSING and field.default_factory is MISSING
    return Field(field.name, kind, needed=needed, checked=True)


def missing(known: Sequence[Field], given: Mapping[str, Any]) -> list[str]:
    """The names of fields whose absence is an error."""
    return [one.name for one in known if one.checked and one.needed and one.name not in given]


def _annotations(schema: type) -> dict[str, Any]:
    try:
        return get_type_hints(schema, include_extras=True)
    except Exception:  # names that exist for a type checker only
        return dict.fromkeys(inspect.get_annotations(schema), Any)


def alternatives(kind: Any) -> list[Any]:
    """The types that a value may have besides None, without annotations around them."""
    origin = get_origin(kind)
    if origin in WRAPPERS:
        return alternatives(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        members = [one for one in get_args(kind) if one is not types.NoneType]
        return [inner for one in members for inner in alternatives(one)]
    if isinstance(kind, NewType):
        return alternatives(kind.__supertype__)
    if isinstance(kind, TypeAliasType):
        return alternatives(kind.__value__)
    return [kind]


def is_class(kind: Any, base: type) -> bool:
    """Whether a type is a class, and derived from `base`."""
    return inspect.isclass(kind) and issubclass(kind, base)


def is_mapping(kind: Any) -> bool:
    """Whether a type is a mapping, with or without known keys."""
    return is_typeddict(kind) or is_class(get_origin(kind) or kind, collections.abc.Mapping)


def may_be_text(kind: Any) -> bool:
    """Whether a text goes into a field."""
    return any(one is str or one in ANYTHING for one in alternatives(kind))


def may_be_anything(kind: Any) -> bool:
    """Whether nothing is known about a field."""
    return any(one in ANYTHING for one in alternatives(kind))


def may_be_message(kind: Any) -> bool:
    """Whether a LangChain message goes into a field."""
    return any(is_class(one, BaseMessage) for one in alternatives(kind))


def is_list(kind: Any) -> bool:
    """Whether a field is a list of anything."""
    return any((get_origin(one) or one) in LISTS for one in alternatives(kind))


def member_of(kind: Any) -> Any:
    """What the members of a list are."""
    return next((args[0] for one in alternatives(kind) if (args := get_args(one))), Any)


def holds_messages(kind: Any) -> bool:
    """Whether a field is a list of messages, by its reducer or by the type of its members."""
    while get_origin(kind) in WRAPPERS:
        if add_messages in get_args(kind)[1:]:
            return True
        kind = get_args(kind)[0]
    return is_list(kind) and may_be_message(member_of(kind))
