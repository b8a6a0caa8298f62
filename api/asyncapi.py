"""The AsyncAPI 3.0 document of the WebSockets, out of the same registry as all else. Pure.

`send` and `receive` are the server's: it sends a dialect's `frames` and receives its `asks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from antiphon.api.dialects.base import Dialect
from antiphon.api.problems import CODES
from antiphon.api.schemas import Schema, name_of, schemas_of

SECURITY: dict[str, Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "For clients with headers.",
    },
    "subprotocol": {
        "type": "httpApiKey",
        "in": "header",
        "name": "Sec-WebSocket-Protocol",
        "description": "For browsers: offer `chat.v1` and `bearer.<JWT>`; the first is selected. A"
        " token that is offered alone is selected itself, so it stands in the answer's headers.",
    },
    "token": {
        "type": "httpApiKey",
        "in": "query",
        "name": "token",
        "description": "The JWT in the address.",
    },
    "ticket": {
        "type": "httpApiKey",
        "in": "query",
        "name": "ticket",
        "description": "A single-use ticket of `POST /auth/ws-ticket`: no token in an address.",
    },
}
QUERY: Schema = {
    "type": "object",
    "properties": {
        "token": {"type": "string", "description": "A JWT."},
        "ticket": {"type": "string", "description": "A single-use ticket."},
        "last_seq": {
            "type": "string",
            "description": "The `seq` of the client's last frame, if the connection has an id.",
        },
    },
}
OTHER_CLOSES = {
    1000: "the client said goodbye",
    1008: "the door: a foreign page or host",
    1012: "the server is about to stop: reconnect and resume",
}


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A WebSocket route: its `address` has parameters in braces."""

    name: str
    address: str
    dialect: str
    description: str


def asyncapi(channels: Iterable[Channel], dialects: Mapping[str, Dialect]) -> Schema:
    """Return the document.

    Messages are components, named by their classes; channels call them by their `type`.
    """
    channels = list(channels)
    spoken = [dialects[name] for name in dict.fromkeys(channel.dialect for channel in channels)]
    frames = list(
        dict.fromkeys(frame for dialect in spoken for frame in (*dialect.sends, *dialect.asks))
    )
    payloads, components = schemas_of(frames)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Antiphon", "version": "1", "description": _description()},
        "defaultContentType": "application/json",
        "channels": {
            channel.name: _channel(channel, dialects[channel.dialect]) for channel in channels
        },
        "operations": dict(
            operation
            for channel in channels
            for operation in _operations(channel, dialects[channel.dialect])
        ),
        "components": {
            "messages": {
                frame.__name__: _message(frame, payload)
                for frame, payload in zip(frames, payloads, strict=True)
            },
            "schemas": _plain(components),
            "securitySchemes": SECURITY,
        },
    }


def _channel(channel: Channel, dialect: Dialect) -> Schema:
    names = re.findall(r"{(\w+)}", channel.address)
    return {
        "address": channel.address,
        "description": channel.description,
        "messages": {
            key: {"$ref": f"#/components/messages/{frame.__name__}"}
            for side in ("send", "receive")
            for key, frame in _keys(dialect, side).items()
        },
        "parameters": {
            name: {"description": "The client's own name, up to 128 characters."} for name in names
        },
        "bindings": {"ws": {"method": "GET", "query": QUERY, "bindingVersion": "0.1.0"}},
        "tags": [{"name": dialect.name}],
    }


def _operations(channel: Channel, dialect: Dialect) -> Iterable[tuple[str, Schema]]:
    for side in ("send", "receive"):
        there = f"#/channels/{channel.name}"
        yield (
            f"{channel.name}_{side}",
            {
                "action": side,
                "channel": {"$ref": there},
                "messages": [{"$ref": f"{there}/messages/{key}"} for key in _keys(dialect, side)],
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in SECURITY],
            },
        )


def _keys(dialect: Dialect, side: str) -> dict[str, type[msgspec.Struct]]:
    """Return the messages of one direction; a type may be on both."""
    frames = dialect.sends if side == "send" else dialect.asks
    return {f"{side}_{name_of(frame)}": frame for frame in frames}


def _message(frame: type[msgspec.Struct], payload: Schema) -> Schema:
    return {
        "name": name_of(frame),
        "title": frame.__name__,
        "summary": frame.__doc__ or "",
        "payload": payload,
    }


def _plain(schema: Any) -> Any:
    """AsyncAPI's discriminator is a property's name only."""
    if isinstance(schema, list):
        return [_plain(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items()}
    if isinstance(plain.get("discriminator"), dict) and "oneOf" in plain:
        plain["discriminator"] = plain["discriminator"]["propertyName"]
    return plain


def _description() -> str:
    closes: dict[int, list[str]] = {}
    for code, answer in CODES.items():
        if answer.close is not None:
            closes.setdefault(answer.close, []).append(f"`{code}`")
    reasons = OTHER_CLOSES | {close: ", ".join(codes) for close, codes in closes.items()}
    return (
        "The WebSockets of this server, a channel each; frames are JSON texts. A client logs in"
        " by any of the security schemes, or by the dialect's own first frame; with authentication"
        " off, it need not. What is wrong with a frame is reported in a frame, and the connection"
        " stays open; otherwise it closes with:\n\n"
        + "\n".join(f"- {close}: {text}" for close, text in sorted(reasons.items()))
    )
