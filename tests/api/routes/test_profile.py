"""What callers tell about themselves, over the wire:

their own only, checked, and told to their own agents only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api.test_bad_input import BODIES, check_words
from tests.api.wire import sse_all
from tests.support.deadline import DEADLINE
from tests.support.server import LiveServer, Teller, bearer

PATH = "/api/v1/profile"
EMPTY: dict[str, Any] = {"name": "", "language": "", "tone": "", "facts": []}
ADA = {
    "name": "Ada Quill",
    "language": "de",
    "tone": "drily amused",
    "facts": ["Ada drives a Merula."],
}
EVE = {
    "name": "Eve Marsh",
    "language": "pt-BR",
    "tone": "solemn",
    "facts": ["Eve collects spanners."],
}


@pytest.fixture
async def strangers(guarded: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server where callers log in."""
    async with httpx.AsyncClient(base_url=guarded.url, timeout=DEADLINE, trust_env=False) as opened:
        yield opened


async def test_a_profile_is_told_changed_and_forgotten(strangers: httpx.AsyncClient) -> None:
    me = bearer("profile-1")
    assert (await strangers.get(PATH, headers=me)).json() == EMPTY
    told = await strangers.put(PATH, json=ADA, headers=me)
    assert (told.status_code, told.json()) == (200, ADA)
    changed = await strangers.patch(
        PATH, json={"tone": None, "facts": ["I have a dog."]}, headers=me
    )
    assert (changed.status_code, changed.json()) == (
        200,
        ADA | {"tone": "", "facts": ["I have a dog."]},
    )
    assert (await strangers.get(PATH, headers=me)).json() == changed.json()
    assert (await strangers.patch(PATH, json={}, headers=me)).json() == changed.json()
    assert (await strangers.put(PATH, json={"name": "Ada"}, headers=me)).json() == EMPTY | {
        "name": "Ada"
    }
    forgotten = await strangers.delete(PATH, headers=me)
    assert (forgotten.status_code, forgotten.content) == (204, b"")
    assert (await strangers.delete(PATH, headers=me)).status_code == 204
    assert (await strangers.get(PATH, headers=me)).json() == EMPTY


async def test_everybody_has_their_own(strangers: httpx.AsyncClient) -> None:
    await strangers.put(PATH, json=ADA, headers=bearer("profile-2"))
    assert (await strangers.get(PATH, headers=bearer("profile-3"))).json() == EMPTY
    await strangers.patch(PATH, json={"name": "Eve"}, headers=bearer("profile-3"))
    await strangers.delete(PATH, headers=bearer("profile-3"))
    assert (await strangers.get(PATH, headers=bearer("profile-2"))).json() == ADA


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_a_profile_needs_a_login(strangers: httpx.AsyncClient, method: str) -> None:
    refused = await strangers.request(
        method, PATH, json=ADA if method in ("PUT", "PATCH") else None
    )
    assert (refused.status_code, refused.json()["code"]) == (401, "AUTH_REQUIRED")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "n" * 101),
        ("name", "A\0da"),
        ("name", 7),
        ("language", "German, please"),
        ("language", ["de"]),
        ("tone", "t" * 101),
        ("tone", "dry\nand long"),
        ("facts", ["f"] * 51),
        ("facts", ["fine", "f" * 301]),
        ("facts", ["fine", "\x1b[2J"]),
        ("facts", ["fine", 7]),
        ("facts", "I have a dog."),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_kept(
    strangers: httpx.AsyncClient, method: str, field: str, value: Any
) -> None:
    me = bearer("profile-4")
    await strangers.put(PATH, json=EVE, headers=me)
    refused = await strangers.request(method, PATH, json={field: value}, headers=me)
    check_words(refused.json(), "native")
    assert (refused.status_code, refused.json()["code"]) == (400, "BAD_REQUEST")
    assert field in refused.json()["message"]
    assert (await strangers.get(PATH, headers=me)).json() == EVE


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("name", [name for name in BODIES if name != "wrong types"])
async def test_a_bad_body_is_told_and_nothing_is_kept(
    strangers: httpx.AsyncClient, method: str, name: str
) -> None:
    me = bearer("profile-5")
    await strangers.put(PATH, json=EVE, headers=me)
    body, codes = BODIES[name]
    body = body.replace(b'"message"', b'"name"')
    refused = await strangers.request(
        method, PATH, content=body, headers=me | {"content-type": "application/json"}
    )
    assert refused.status_code in (400, 413)
    assert refused.json()["code"] in codes
    check_words(refused.json(), "native")
    assert (await strangers.get(PATH, headers=me)).json() == EVE


async def test_with_auth_off_everybody_is_the_local_user(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    question = teller.answer("Who is the local user?", "You.")
    await client.put(PATH, json=ADA)
    try:
        await sse_all(client, "POST", "/api/v1/runs", json={"message": question})
    finally:
        await client.delete(PATH)
    assert [ADA["name"] in request.system for request in teller.asked(question)] == [True]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_page_may_edit_it(client: httpx.AsyncClient, method: str) -> None:
    headers = {"origin": "http://localhost:5173", "access-control-request-method": method}
    allowed = await client.options(
        PATH, headers=headers | {"access-control-request-headers": "content-type"}
    )
    assert allowed.status_code < 300
    assert method in allowed.headers["access-control-allow-methods"]


async def test_every_agent_is_told_of_its_own_user_only(
    strangers: httpx.AsyncClient, guarded: LiveServer, teller: Teller
) -> None:
    """Two users ask at once. Their events and the server's log say nothing of either profile."""
    agents = {"primary": "specs", "supporting": ["maintenance"]}
    asked = {
        user: teller.answer(f"What do you know of {user}?", "A bit.")
        for user in ("profile-6", "profile-7")
    }
    for user, profile in zip(asked, (ADA, EVE), strict=True):
        await strangers.put(PATH, json=profile, headers=bearer(user))
    streams = await asyncio.gather(
        *(
            sse_all(
                strangers,
                "POST",
                "/api/v1/runs",
                json={"message": question, "mode": "collaborative", "agents": agents},
                headers=bearer(user),
            )
            for user, question in asked.items()
        )
    )
    for (user, question), own, other in zip(asked.items(), (ADA, EVE), (EVE, ADA), strict=True):
        systems = [request.system for request in teller.asked(question)]
        assert len(systems) == 3, user
        for system in systems:
            assert all(str(told) in system for told in texts(own))
            assert not any(str(told) in system for told in texts(other))
    said = "".join(block.text for blocks in streams for block in blocks) + guarded.log
    assert not any(told in said for told in [*texts(ADA), *texts(EVE)])


def texts(profile: dict[str, Any]) -> list[str]:
    """What a profile says that nothing else does."""
    return [profile["name"], profile["tone"], *profile["facts"]]
