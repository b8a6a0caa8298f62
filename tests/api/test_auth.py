"""Which tokens are believed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
import warnings
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api.auth import CLOCK_SECONDS, LEEWAY_SECONDS, TOKEN_BYTES, Authenticator
from antiphon.api.principal import LOCAL, Principal
from antiphon.api.problems import Problem
from antiphon.api.settings import Settings
from tests.support.server import AUDIENCE, ISSUER, SECRET, jwt_settings, token

GUARD = Authenticator(Settings(**jwt_settings()))
OPEN = Authenticator(Settings())
NOW = int(time.time())


def accepted(authenticator: Authenticator, text: str | None) -> Principal:
    """Return the caller of a token."""
    return asyncio.run(authenticator.principal(text))


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(
    header: dict[str, Any], claims: dict[str, Any] | None = None, *, key: str = SECRET
) -> str:
    """A token with any header, signed with HMAC-SHA-256 whatever the header says."""
    standard = {"sub": "ada", "exp": NOW + 3600, "aud": AUDIENCE, "iss": ISSUER}
    body = f"{part(header)}.{part(standard | (claims or {}))}"
    signature = hmac.new(key.encode(), body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def other_algorithm(name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyJWT finds the key short for this one
        claims = {"sub": "ada", "exp": NOW + 3600, "aud": AUDIENCE, "iss": ISSUER}
        return jwt.encode(claims, SECRET, algorithm=name)


FORGED = {
    "nothing": "a",
    "empty parts": "..",
    "not base64": "€.€.€",
    "four parts": token() + ".x",
    "no signature": token().rpartition(".")[0] + ".",
    "cut signature": token()[:-3],
    "another secret": forged({"alg": "HS256"}, key="another secret of more than 32 bytes"),
    "empty secret": forged({"alg": "HS256"}, key=""),
    "alg none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{token().split('.')[1]}.",
    "alg NoNe": f"{part({'alg': 'NoNe'})}.{token().split('.')[1]}.",
    "alg none, signed": forged({"alg": "none"}),
    "alg RS256, HMAC signed": forged({"alg": "RS256"}),
    "alg ES256, HMAC signed": forged({"alg": "ES256"}),
    "alg missing": forged({"typ": "JWT"}),
    "alg a list": forged({"alg": ["HS256"]}),
    "unknown critical header": forged({"alg": "HS256", "crit": ["exp2"], "exp2": 1}),
    "HS512": other_algorithm("HS512"),
    "HS384": other_algorithm("HS384"),
    "expired": token(seconds=-LEEWAY_SECONDS - 2),
    "not yet valid": token(nbf=NOW + 100_000, exp=NOW + 200_000),
    "no exp": token(exp=None),
    "exp a text": forged({"alg": "HS256"}, {"exp": "soon"}),
    "exp null": forged({"alg": "HS256"}, {"exp": None}),
    "no sub": token(sub=None),
    "sub empty": token(sub=""),
    "sub blank": token(sub="  "),
    "sub a truth": forged({"alg": "HS256"}, {"sub": True}),
    "sub a fraction": forged({"alg": "HS256"}, {"sub": 1.5}),
    "exp without end": forged({"alg": "HS256"}, {"exp": 10**400}),
    "issued later": token(iat=NOW + 36_000, exp=NOW + 72_000),
    "sub a list": forged({"alg": "HS256"}, {"sub": ["ada"]}),
    "sub too long": token(sub="x" * 256),
    "no audience": token(aud=None),
    "wrong audience": token(aud="somebody else"),
    "no issuer": token(iss=None),
    "wrong issuer": token(iss="https://evil.test"),
    "claims a list": f"{part({'alg': 'HS256'})}.{part([1])}.x",
    "header nested deep": base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.x",
    "too long": token(padding="x" * TOKEN_BYTES),
    "NUL": "\0",
    "lone surrogate": "\ud800",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_token_that_is_not_sound_is_refused(name: str) -> None:
    with pytest.raises(Problem) as refused:
        accepted(GUARD, FORGED[name])
    assert refused.value.code == "AUTH_INVALID"
    assert refused.value.message == "Invalid token"


@given(st.text())
def test_no_text_is_a_token(text: str) -> None:
    with pytest.raises(Problem) as refused:
        accepted(GUARD, text)
    assert refused.value.code in {"AUTH_INVALID", "AUTH_REQUIRED"}


@given(st.integers(0, 400), st.characters(codec="ascii"))
def test_a_token_with_one_letter_changed_is_another_token_or_none(place: int, letter: str) -> None:
    sound = token()
    place %= len(sound) - 1  # the last letter carries bits that base64 ignores
    if sound[place] == letter:
        return
    with pytest.raises(Problem):
        accepted(GUARD, sound[:place] + letter + sound[place + 1 :])


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_no_token_is_told_from_a_bad_one(nothing: str | None) -> None:
    with pytest.raises(Problem) as refused:
        accepted(GUARD, nothing)
    assert refused.value.code == "AUTH_REQUIRED"


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer {}", "BEARER   {} ", " {} "])
def test_bearer_in_front_is_ignored(form: str) -> None:
    assert accepted(GUARD, form.format(token())).id == "ada"


def test_the_claims_become_the_principal() -> None:
    found = accepted(GUARD, token("ada", email="a@x", name="Ada", access=["internal", 5, "public"]))
    assert (found.id, found.email, found.name, found.access) == (
        "ada",
        "a@x",
        "Ada",
        ("internal", "public"),
    )
    assert found.expires_at == pytest.approx(time.time() + 3600, abs=60)


@pytest.mark.parametrize(
    "claims", [{"email": 1, "name": ["x"]}, {"access": "admin"}, {"access": {"admin": True}}]
)
def test_claims_of_the_wrong_kind_give_nothing(claims: dict[str, Any]) -> None:
    found = accepted(GUARD, token(**claims))
    assert (found.email, found.name, found.access) == (None, None, ("public",))


def test_an_expired_token_is_believed_for_a_few_seconds_only() -> None:
    assert accepted(GUARD, token(seconds=-LEEWAY_SECONDS + 3)).id == "ada"


@pytest.mark.parametrize(("claim", "text"), [(17, "17"), (-1, "-1"), (2**80, str(2**80))])
def test_a_number_as_sub_is_its_text(claim: int, text: str) -> None:
    assert accepted(GUARD, token(sub=claim)).id == text


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_the_issuers_clock_may_be_a_minute_ahead(claim: str) -> None:
    assert accepted(GUARD, token(**{claim: time.time() + CLOCK_SECONDS - 5})).id == "ada"
    with pytest.raises(Problem):
        accepted(GUARD, token(**{claim: time.time() + CLOCK_SECONDS + 100}))


def test_without_audience_and_issuer_in_the_settings_none_is_asked_for() -> None:
    lenient = Authenticator(Settings(auth="jwt", jwt_secret=SECRET))
    assert accepted(lenient, token(aud=None, iss=None)).id == "ada"
    assert accepted(lenient, token()).id == "ada"


@pytest.mark.parametrize("anything", [None, "", "x", FORGED["alg none"]])
def test_with_auth_off_everybody_is_the_local_user(anything: str | None) -> None:
    assert accepted(OPEN, anything) == LOCAL


def test_a_minted_token_is_believed() -> None:
    minted = GUARD.mint("ada", 60, int(time.time()), email="a@x")
    assert (accepted(GUARD, minted).id, accepted(GUARD, minted).email) == ("ada", "a@x")


def test_nothing_is_minted_where_auth_is_off() -> None:
    with pytest.raises(Problem):
        OPEN.mint("ada", 60, NOW)


def test_a_login_ends_with_its_token_and_with_its_revocation() -> None:
    guard = Authenticator(Settings(**jwt_settings()))
    ada = Principal(id="ada", expires_at=NOW + 10.0, token_id="t-1", issued_at=float(NOW))
    guard.check(ada, (NOW + 10) * 1000)
    with pytest.raises(Problem):
        guard.check(ada, (NOW + 11) * 1000)
    guard.note_revocations([("jti", "t-1", NOW * 1000)])
    with pytest.raises(Problem):
        guard.check(ada, NOW * 1000)
    guard.note_revocations([("user", "ada", (NOW - 1) * 1000)])
    guard.check(ada, NOW * 1000)
    guard.note_revocations([("user", "ada", NOW * 1000)])
    with pytest.raises(Problem):
        guard.check(ada, NOW * 1000)
    with pytest.raises(Problem):
        accepted(guard, token(iat=NOW))
