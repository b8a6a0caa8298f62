"""Reviews of tool calls that wait for a human's approval, and what the answers mean. Pure.

Three shapes are in use. LangChain's `HumanInTheLoopMiddleware` asks about all calls of a turn at
once (`action_requests` and `review_configs`, answered by `{"decisions": [...]}`) or about each by
itself (`"type": "tool_approval"`, answered by one decision). The inbox's older shape is a list of
`{"action_request", "config", "description"}`, answered by a list of `{"type", "args"}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from antiphon.orchestrator.errors import AnswerInvalid, AnswerUnclear
from antiphon.orchestrator.questions.consent import consent

Kind = Literal["approve", "edit", "reject", "respond"]
DECISIONS: tuple[Kind, ...] = ("approve", "edit", "reject", "respond")
INBOX = ("accept", "edit", "ignore", "response")
"""The names of the same decisions in the inbox's shape."""
ARGUMENT_LIMIT = 2000
"""Characters shown of a call's arguments in the question; the event's value has all of them."""
_ORDER = re.compile(
    r"\s*(approve|accept|edit|reject|ignore|respond|response)\b[\s:,–—-]*", re.IGNORECASE
)


class ReviewedCall(NamedTuple):
    """A tool call that waits, and the decisions allowed about it, in the words of its shape."""

    name: str
    args: Any
    description: str
    allowed: tuple[str, ...]

    @property
    def text(self) -> str:
        """The call as people read it, below its description."""
        arguments = self.args if isinstance(self.args, Mapping) else {"": self.args}
        pairs = ", ".join(f"{name}={_json(value)}".lstrip("=") for name, value in arguments.items())
        shown = pairs if len(pairs) <= ARGUMENT_LIMIT else f"{pairs[:ARGUMENT_LIMIT]}…"
        about = self.description.partition("\n\nTool: ")[
            0
        ].strip()  # the middleware repeats the call
        return f"{about}\n\n{self.name}({shown})" if about else f"{self.name}({shown})"


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """Tool calls that wait together. Subclasses give decisions in other shapes to the graph."""

    calls: list[ReviewedCall]

    words: ClassVar[Mapping[Kind, str]] = dict(zip(DECISIONS, DECISIONS, strict=True))
    """The names of the four decisions in this shape."""

    @property
    def text(self) -> str:
        """The question as people read it."""
        if len(self.calls) == 1:
            return self.calls[0].text
        return "\n\n".join(f"{number}. {call.text}" for number, call in enumerate(self.calls, 1))

    @property
    def options(self) -> list[str]:
        """The decisions that are allowed about every one of the calls."""
        first, *others = (call.allowed for call in self.calls)
        return [word for word in first if all(word in other for other in others)]

    @property
    def help(self) -> str:
        """How to answer, as a sentence."""
        if self.options == [self.word("respond")]:
            return "Answer in your own words."
        of_each = "" if len(self.calls) == 1 else f", or with a list of {len(self.calls)} decisions"
        return f"Answer with {' or '.join(self.options) or 'a decision'}{of_each}."

    def read(self, said: Any) -> Any:
        """Return what the graph receives. Raises `AnswerInvalid` and `AnswerUnclear`."""
        if isinstance(said, str) and said.lstrip()[:1] in ("{", "["):
            said = _decoded(said)
        words = isinstance(said, str | bool)
        return self.packed(self._from_words(said) if words else self._checked(said))

    def word(self, kind: Kind) -> str:
        """Return the name of a decision in this shape."""
        return self.words[kind]

    def decision(self, kind: Kind, content: Any) -> dict[str, Any]:
        """Return one decision in this shape; `content` is an edited call or a message."""
        if kind == "edit":
            return {"type": kind, "edited_action": content}
        return {"type": kind, "message": content} if content else {"type": kind}

    def packed(self, decisions: list[dict[str, Any]]) -> Any:
        """Return the decisions about all calls as the answer that the graph takes."""
        return {"decisions": decisions}

    def unpacked(self, said: Any) -> Any:
        """Return the decisions in an answer that is not a text."""
        return said["decisions"] if isinstance(said, dict) and "decisions" in said else said

    def flaw(self, decision: dict[str, Any]) -> str | None:
        """Return what a decision of an allowed type lacks; None if it is complete."""
        if decision["type"] == "edit":
            return _flaw_of_edit(decision.get("edited_action"), "edited_action", "name")
        wants_message = decision["type"] == "respond" or decision.get("message") is not None
        if wants_message and not isinstance(decision.get("message"), str):
            return "`message` must be a text"
        return None

    # -- plain words ------------------------------------------------------------------------------

    def _from_words(self, said: str | bool) -> list[dict[str, Any]]:
        decision = consent(said)
        if decision is not None and decision.agrees and self._may("approve"):
            return [self.decision("approve", None) for _ in self.calls]
        if decision is not None and not decision.agrees and self._may("reject"):
            return self._refused(said, decision.reason)
        order = _ORDER.match(said) if isinstance(said, str) else None
        if order is not None and len(self.calls) == 1:
            return [self._ordered(order[1].lower(), str(said)[order.end() :].strip())]
        if isinstance(said, str) and self._takes_any_words():
            return [self.decision("respond", said)]
        raise AnswerUnclear(f"It is not clear what you decide. {self.help}")

    def _may(self, kind: Kind) -> bool:
        return all(self.word(kind) in call.allowed for call in self.calls)

    def _refused(self, said: Any, reason: str) -> list[dict[str, Any]]:
        return [self.decision("reject", reason) for _ in self.calls]

    def _takes_any_words(self) -> bool:
        """Whether words without a decision are an answer by themselves."""
        return len(self.calls) == 1 and self.calls[0].allowed == (self.word("respond"),)

    def _ordered(self, order: str, rest: str) -> dict[str, Any]:
        """Return the decision that a text begins with: "respond: it is Tuesday", "edit: {...}"."""
        kinds = dict(zip(INBOX + DECISIONS, DECISIONS * 2, strict=True))
        kind = kinds[order]
        if not self._may(kind):
            raise AnswerInvalid(f"{order!r} is not allowed here. {self.help}")
        if kind == "respond" and rest:
            return self.decision("respond", rest)
        if kind == "edit" and rest[:1] == "{":
            return self._checked([self._edited(_decoded(rest))])[0]
        if kind == "edit":
            raise AnswerUnclear("An edit needs the new arguments as JSON: edit {...}")
        raise AnswerUnclear(f"It is not clear what you decide. {self.help}")

    def _edited(self, edit: Any) -> dict[str, Any]:
        """Return an edit of the one call, given its new arguments, or name and arguments."""
        whole = isinstance(edit, dict) and isinstance(edit.get("args"), dict) and len(edit) <= 2
        args = edit["args"] if whole else edit
        name = edit.get("name", edit.get("action")) if whole else None
        return self.decision("edit", self.action(str(name or self.calls[0].name), args))

    def action(self, name: str, args: Any) -> dict[str, Any]:
        """Return a tool call in this shape."""
        return {"name": name, "args": args}

    # -- answers that are not texts ---------------------------------------------------------------

    def _checked(self, said: Any) -> list[dict[str, Any]]:
        """Return the decisions in an object or a list, one for each call."""
        decisions = self.unpacked(said)
        if isinstance(decisions, dict) and "type" in decisions:
            decisions = [decisions]
        if not isinstance(decisions, list):
            raise AnswerInvalid(f"This is no decision. {self.help}")
        if len(decisions) != len(self.calls):
            raise AnswerInvalid(f"There must be {len(self.calls)} decisions, not {len(decisions)}.")
        return [self._checked_one(*pair) for pair in zip(decisions, self.calls, strict=True)]

    def _checked_one(self, decision: Any, call: ReviewedCall) -> dict[str, Any]:
        if isinstance(decision, str):
            decision = {"type": decision}
        kind = decision.get("type") if isinstance(decision, dict) else None
        if kind not in call.allowed:
            raise AnswerInvalid(
                f"A decision about {call.name!r} must have a type of {_listed(call.allowed)}."
            )
        if flaw := self.flaw(decision):
            raise AnswerInvalid(f"In the decision about {call.name!r}, {flaw}.")
        whole: dict[str, Any] = decision
        return whole


class SingleReview(Review, frozen=True, kw_only=True):
    """One call, which is answered by one decision."""

    def packed(self, decisions: list[dict[str, Any]]) -> Any:
        """Return the decision itself."""
        return decisions[0]


class InboxReview(Review, frozen=True, kw_only=True):
    """The inbox's shape, in which a human may also respond in words."""

    words: ClassVar[Mapping[Kind, str]] = dict(zip(DECISIONS, INBOX, strict=True))
    is_list: bool = True
    """Whether the graph asked with a list, and takes a list as the answer."""

    def decision(self, kind: Kind, content: Any) -> dict[str, Any]:
        """Return one decision in this shape; `content` is an edited call or a message."""
        return {"type": self.word(kind), "args": content if kind in ("edit", "respond") else None}

    def packed(self, decisions: list[dict[str, Any]]) -> Any:
        """Return a list of decisions, or the one that was asked for."""
        return decisions if self.is_list else decisions[0]

    def flaw(self, decision: dict[str, Any]) -> str | None:
        """Return what a decision of an allowed type lacks; None if it is complete."""
        if decision["type"] == "edit":
            return _flaw_of_edit(decision.get("args"), "args", "action")
        if decision["type"] == "response" and not isinstance(decision.get("args"), str):
            return "`args` must be a text"
        return None

    def action(self, name: str, args: Any) -> dict[str, Any]:
        """Return a tool call in this shape."""
        return {"action": name, "args": args}

    def _refused(self, said: Any, reason: str) -> list[dict[str, Any]]:
        """Return a refusal, in the human's own words if there are any and the graph takes them."""
        if reason and self._may("respond"):
            return [self.decision("respond", said) for _ in self.calls]
        return [self.decision("reject", None) for _ in self.calls]

    def _takes_any_words(self) -> bool:
        return self._may("respond")


def review_of(value: Any, schema: Any = None) -> Review | None:
    """Return the review that a question's value asks for, else None; `schema` is the answer's."""
    if isinstance(value, dict) and value.get("type") == "tool_approval" and "name" in value:
        args, about = value.get("args"), str(value.get("description") or "")
        return SingleReview(calls=[ReviewedCall(str(value["name"]), args, about, _kinds(schema))])
    if isinstance(value, dict) and _are_objects(value.get("action_requests"), "name"):
        configs = value.get("review_configs")
        configs = configs if isinstance(configs, list) else []
        return Review(calls=_batch(value["action_requests"], configs))
    is_list = isinstance(value, list)
    items = value if is_list else [value]
    if not _are_objects(items, "action_request"):
        return None
    if not _are_objects([item["action_request"] for item in items], "action"):
        return None
    return InboxReview(calls=[_inbox_call(item) for item in items], is_list=is_list)


def _batch(requests: Sequence[Mapping[str, Any]], configs: Sequence[Any]) -> list[ReviewedCall]:
    """Return the calls of the middleware's request.

    Each has the configuration at the same place, or else the one with its name.
    """
    calls = []
    for index, request in enumerate(requests):
        name = request["name"]
        config = configs[index] if index < len(configs) else None
        if not isinstance(config, Mapping) or config.get("action_name", name) != name:
            config = _config_named(name, configs)
        allowed = tuple(config.get("allowed_decisions") or DECISIONS)
        about = str(request.get("description") or "")
        args = request.get("args", request.get("arguments"))
        calls.append(ReviewedCall(str(name), args, about, allowed))
    return calls


def _config_named(name: Any, configs: Sequence[Any]) -> Mapping[str, Any]:
    """Return the first configuration with this name; an empty one if there is none."""
    for config in configs:
        if isinstance(config, Mapping) and config.get("action_name") == name:
            return config
    return {}


def _inbox_call(item: Mapping[str, Any]) -> ReviewedCall:
    request, config = item["action_request"], item.get("config")
    keys = {
        "accept": "allow_accept",
        "edit": "allow_edit",
        "ignore": "allow_ignore",
        "response": "allow_respond",
    }
    allows = config if isinstance(config, Mapping) else dict.fromkeys(keys.values(), True)
    allowed = tuple(word for word, key in keys.items() if allows.get(key))
    about = str(item.get("description") or "")
    return ReviewedCall(str(request["action"]), request.get("args"), about, allowed)


def _kinds(schema: Any) -> tuple[str, ...]:
    """Return the types of decision that a response schema allows; by default all of them."""
    whole = schema if isinstance(schema, Mapping) else {}
    kinds: list[str] = []
    for part in whole.get("oneOf") or whole.get("anyOf") or [whole]:
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        kind = whole.get("$defs", {}).get(name, part).get("properties", {}).get("type", {})
        kinds += [kind["const"]] if "const" in kind else kind.get("enum", [])
    return tuple(dict.fromkeys(kinds)) or DECISIONS


def _flaw_of_edit(action: Any, field: str, name: str) -> str | None:
    if not isinstance(action, dict) or not isinstance(action.get(name), str):
        return f"`{field}` must be an object with {name!r} and 'args'"
    return None if isinstance(action.get("args"), dict) else f"`{field}.args` must be an object"


def _are_objects(listed: Any, key: str) -> bool:
    """Whether this is a non-empty list of objects that all have this key."""
    return (
        isinstance(listed, list)
        and bool(listed)
        and all(isinstance(one, dict) and key in one for one in listed)
    )


def _decoded(text: str) -> Any:
    """Return a text decoded as JSON. Raises `AnswerInvalid`."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise AnswerInvalid("The answer looks like JSON, but is not valid.") from None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _listed(words: Sequence[str]) -> str:
    return " or ".join(words)
