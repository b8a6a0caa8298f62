"""The AsyncAPI document is valid, and says of every WebSocket what goes over it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Literal

import httpx
import jsonschema
import msgspec
import pytest

from antiphon.api.app import create_app
from antiphon.api.asyncapi import Channel, asyncapi
from antiphon.api.dialects import DIALECTS
from antiphon.api.problems import CODES
from antiphon.api.routes.documents import channels
from antiphon.api.settings import Settings
from tests.api.dialects.samples import FIXED, data_of, recorded
from tests.support.server import LiveServer

OFFICIAL = Path(__file__).parents[1] / "support/asyncapi/3.0.0.json.gz"
CHANNELS = channels(create_app(Settings()).routes)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(gzip.decompress(OFFICIAL.read_bytes())))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi(CHANNELS, DIALECTS)


def test_the_document_is_valid(
    document: dict[str, Any], validator: jsonschema.Draft7Validator
) -> None:
    validator.validate(document)


def test_a_document_with_a_mistake_is_not(
    document: dict[str, Any], validator: jsonschema.Draft7Validator
) -> None:
    assert not validator.is_valid(document | {"operations": {"x": {"action": "shout"}}})


async def test_the_server_serves_it(client: httpx.AsyncClient, live: LiveServer) -> None:
    response = await client.get("/schema/asyncapi.json")
    assert response.headers["content-type"] == "application/vnd.aai.asyncapi+json"
    assert response.json() == asyncapi(channels(create_app(live.settings).routes), DIALECTS)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for part in json.dumps(document).split('"$ref": "#/')[1:]:
        found: Any = document
        for step in part.partition('"')[0].split("/"):
            found = found[step]


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.address)
def test_every_frame_of_a_channel_is_told(document: dict[str, Any], channel: Channel) -> None:
    dialect = DIALECTS[channel.dialect]
    assert channel.description
    assert dialect.asks, "a dialect with a WebSocket says what it understands there"
    told = document["channels"][channel.name]
    assert told["address"] == channel.address
    for side, classes in (("send", dialect.sends), ("receive", dialect.asks)):
        operation = document["operations"][f"{channel.name}_{side}"]
        assert operation["action"] == side
        keys = [one["$ref"].rpartition("/")[2] for one in operation["messages"]]
        names = [told["messages"][key]["$ref"].rpartition("/")[2] for key in keys]
        assert names == [one.__name__ for one in classes]
        assert len(operation["security"]) == 4


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.address)
@pytest.mark.parametrize("run", FIXED)
def test_what_is_sent_fits_its_message(
    document: dict[str, Any], channel: Channel, run: str
) -> None:
    messages = document["channels"][channel.name]["messages"]
    for frame in data_of(DIALECTS[channel.dialect], recorded(FIXED[run])):
        name = messages[f"send_{frame['type']}"]["$ref"].rpartition("/")[2]
        schema = document["components"]["messages"][name]["payload"] | {
            "components": document["components"]
        }
        jsonschema.Draft7Validator(schema).validate(frame)


def test_every_close_code_is_told(document: dict[str, Any]) -> None:
    for code, answer in CODES.items():
        if answer.close is not None:
            assert f"- {answer.close}: " in document["info"]["description"]
            assert f"`{code}`" in document["info"]["description"]


class _Yes(msgspec.Struct, tag_field="kind", tag="yes"):
    pass


class _No(msgspec.Struct, tag_field="kind", tag="no"):
    why: Literal["late", "early"]


class _Vote(msgspec.Struct, tag_field="type", tag="vote"):
    """Either."""

    said: _Yes | _No


class _Voting:
    name = "voting"
    sends = (_Vote,)
    asks = ()


def test_a_choice_within_a_frame_is_told_in_asyncapis_way(
    validator: jsonschema.Draft7Validator,
) -> None:
    channel = Channel(name="votes", address="/votes/{id}", dialect="voting", description="Votes.")
    document = asyncapi([channel], {"voting": _Voting()})  # type: ignore[dict-item]
    validator.validate(document)
    said = document["components"]["schemas"]["_Vote"]["properties"]["said"]
    assert said["discriminator"] == "kind"
    assert len(said["oneOf"]) == 2
    assert list(document["channels"]["votes"]["parameters"]) == ["id"]
