"""The bytes of completions and errors, in OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.model_server.replies import (
    JsonObject,
    ModelRequest,
    Reply,
    encoded_json,
    text_of,
)

_ARGUMENT_FRAGMENT = 16
_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "permission_denied", "You are not allowed to do this."),
    404: ("invalid_request_error", "not_found", "Not found."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}


def _event(value: Any) -> bytes:
    """Encode a JSON value as one server-sent event."""
    return b"data: " + encoded_json(value) + b"\n\n"


def error_body(status: int, error: str | Mapping[str, Any] | None) -> bytes:
    """Encode an error in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""
    kind, code, message = _ERRORS.get(status, _ERRORS[400 if status < 500 else 500])
    fields: JsonObject = {"message": message, "type": kind, "param": None, "code": code}
    fields |= {"message": error} if isinstance(error, str) else dict(error or {})
    return encoded_json({"error": fields})


def _arguments(call: Mapping[str, Any]) -> str:
    """Return the arguments of a tool call as the JSON text that goes over the wire."""
    arguments = call.get("arguments", {})
    return arguments if isinstance(arguments, str) else encoded_json(arguments).decode()


def _usage(request: ModelRequest, reply: Reply) -> JsonObject:
    """Return the scripted usage, or one that counts words."""
    if reply.usage is not None:
        return dict(reply.usage)
    thought = len("".join(reply.reasoning).split())
    said = len(reply.content.split()) + sum(
        len(_arguments(call).split()) for call in reply.tool_calls
    )
    asked = sum(len(text_of(message).split()) for message in request.messages)
    return {
        "prompt_tokens": asked,
        "completion_tokens": said + thought,
        "total_tokens": asked + said + thought,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


class Completion:
    """The encoded parts of the answer to one request; everything that can fail in a reply fails
    here.
    """

    def __init__(self, request: ModelRequest, reply: Reply, completion_id: str) -> None:
        self._request, self._reply, self._id = request, reply, completion_id
        self._created = int(request.received_time)
        self._usage = _usage(request, reply)
        self.deltas = (
            reply.encoded_text + self._tool_deltas() if reply.tool_calls else reply.encoded_text
        )
        start, end = self._chunk({"delta": 0, "logprobs": None, "finish_reason": None}).split(
            b'"delta":0', 1
        )
        self._start, self._end = start + b'"delta":', end

    def role(self) -> bytes:
        """Encode the first event."""
        content = "" if self._reply.content_pieces or not self._reply.tool_calls else None
        return (
            self._start
            + encoded_json({"role": "assistant", "content": content, "refusal": None})
            + self._end
        )

    def pieces(self, start: int, stop: int) -> bytes:
        """Encode the events of pieces ``start`` to ``stop``."""
        return self._start + (self._end + self._start).join(self.deltas[start:stop]) + self._end

    def tail(self) -> list[bytes]:
        """Encode the events after the pieces: finish reason, usage if asked for, ``[DONE]``."""
        events = [
            self._chunk({"delta": {}, "logprobs": None, "finish_reason": self._finish_reason})
        ]
        if self._request.include_usage:
            events.append(
                _event(self._base("chat.completion.chunk") | {"choices": [], "usage": self._usage})
            )
        return [*events, b"data: [DONE]\n\n"]

    def whole(self) -> bytes:
        """Encode the answer to a request that did not ask for a stream."""
        reply = self._reply
        content = None if reply.tool_calls and not reply.content else reply.content
        message: JsonObject = {"role": "assistant", "content": content, "refusal": None}
        if reply.reasoning:
            message["reasoning_content"] = "".join(reply.reasoning)
        if reply.tool_calls:
            message["tool_calls"] = [
                self._tool_call(i, call) for i, call in enumerate(reply.tool_calls)
            ]
        finish = None if reply.end_without_finish else self._finish_reason
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return encoded_json(
            self._base("chat.completion") | {"choices": [choice], "usage": self._usage}
        )

    @property
    def _finish_reason(self) -> str:
        return self._reply.finish_reason or ("tool_calls" if self._reply.tool_calls else "stop")

    def _base(self, kind: str) -> JsonObject:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._request.model,
            "system_fingerprint": None,
        }

    def _chunk(self, choice: JsonObject) -> bytes:
        value = self._base("chat.completion.chunk") | {"choices": [{"index": 0} | choice]}
        return _event(value | {"usage": None} if self._request.include_usage else value)

    def _tool_call(self, index: int, call: Mapping[str, Any]) -> JsonObject:
        call_id = call.get("id") or f"call_{self._id.removeprefix('chatcmpl-')}_{index}"
        return {
            "id": call_id,
            "type": "function",
            "function": {"name": call["name"], "arguments": _arguments(call)},
        }

    def _tool_deltas(self) -> list[bytes]:
        deltas: list[JsonObject] = []
        for index, given in enumerate(self._reply.tool_calls):
            call = self._tool_call(index, given)
            arguments, call["function"]["arguments"] = call["function"]["arguments"], ""
            deltas.append({"index": index} | call)
            for at in range(0, len(arguments), _ARGUMENT_FRAGMENT):
                fragment = arguments[at : at + _ARGUMENT_FRAGMENT]
                deltas.append({"index": index, "function": {"arguments": fragment}})
        return [encoded_json({"tool_calls": [delta]}) for delta in deltas]
