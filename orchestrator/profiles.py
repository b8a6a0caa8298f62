"""Profiles: how users want to be answered, and facts about them. Pure.

A profile is private to its user. It is read when a message is accepted and stored with the run's
input, so that every attempt of the run uses the same one. No event contains it, because other users
may read the thread.
"""

from __future__ import annotations

import re
import unicodedata

import msgspec

from antiphon.orchestrator.errors import BadRequest

NAME_LIMIT = 100
TONE_LIMIT = 100
FACTS_LIMIT = 50
FACT_LIMIT = 300
"""Characters of one fact."""
LANGUAGE_LIMIT = 35
"""Characters of a language tag, as RFC 5646 advises."""

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_REFUSED = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories of control characters, surrogates and line separators: texts have one line."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What users say about themselves. Empty fields have no effect.

    `language` is a BCP 47 tag like `de` or `pt-BR`; `name` and `tone` have at most 100 characters;
    `facts` are at most 50 texts of at most 300 characters.
    """

    name: str = ""
    language: str = ""
    tone: str = ""
    facts: tuple[str, ...] = ()


def checked_profile(profile: Profile) -> Profile:
    """Return a profile if it can be stored. Raises `BadRequest`, which names the field."""
    _check_text("name", profile.name, NAME_LIMIT)
    _check_text("tone", profile.tone, TONE_LIMIT)
    language = profile.language
    if language and (len(language) > LANGUAGE_LIMIT or not _LANGUAGE.fullmatch(language)):
        raise BadRequest("language: must be a language tag like de or pt-BR.")
    if len(profile.facts) > FACTS_LIMIT:
        raise BadRequest(f"facts: may be at most {FACTS_LIMIT}, not {len(profile.facts)}.")
    for number, fact in enumerate(profile.facts):
        _check_text(f"facts[{number}]", fact, FACT_LIMIT)
    return profile


def _check_text(field: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise BadRequest(f"{field}: may have at most {limit} characters, not {len(text)}.")
    if any(unicodedata.category(character) in _REFUSED for character in text):
        raise BadRequest(f"{field}: must be one line without control characters.")


def encode_profile(profile: Profile) -> bytes:
    """Return a profile as it is stored."""
    return msgspec.json.encode(profile)


def decode_profile(stored: bytes) -> Profile:
    """Return a stored profile. Raises `msgspec.ValidationError`."""
    return msgspec.json.decode(stored, type=Profile)
