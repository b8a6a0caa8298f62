"""Reads a yes or a no from what a person writes. Pure.

Cautious in both directions: a text counts only if all of it means the same. "yes, but do not send"
is neither, so nothing is done until the person answers clearly.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

YES = (
    "yes|y|yeah|yep|yup|true|sure|ok|okay|fine|good|great|perfect|correct|right|agreed|agree"
    "|i agree|approve|approved|i approve|accept|accepted|i accept|confirm|confirmed|i confirm"
    "|allow|allowed"
    "|go|go on|go ahead|continue|carry on|proceed|resume|do it|do so|do that|please do|run it|lgtm"
    "|looks good|sounds good|absolutely|certainly|definitely|of course|by all means"
)
NO = (
    "no|n|nope|nah|false|negative|no way|no thanks|no thank you|not now|not yet|not this time"
    "|absolutely not|certainly not|definitely not|of course not|better not"
)
"""A clause that is one of these, and nothing else, refuses."""
FORBIDS = (
    "do not|don't|dont|never|stop|halt|cancel|cancelled|abort|quit|reject|rejected|i reject|deny"
    "|denied|decline|declined|refuse|refused|disapprove|disapproved|ignore|skip"
)
"""A clause that begins with one of these refuses, whatever follows: "do not send it"."""
UNSURE = frozenset(["know", "sure", "understand", "think", "mind", "care", "maybe", "perhaps"])
"""A clause that forbids one of these refuses nothing: "don't know", "don't mind"."""
FILLERS = frozenset(
    [
        "please",
        "thanks",
        "thank",
        "you",
        "now",
        "then",
        "just",
        "all",
        "both",
        "it",
        "that",
        "everything",
    ]
)
REJECTS = "reject|rejected|i reject|deny|denied|decline|declined|refuse|refused"
"""Refusals that are left out of the reason that follows them, as a no is."""

LONG = 20
"""A clause of more words is not just a yes or a no; one that forbids may be longer."""

_BREAK = re.compile(r"[,.;:!\n–—()]|\b(?:but|however|though|although)\b")
_WORD = re.compile(r"[\w']+")


class Consent(NamedTuple):
    """A clear answer. `reason` is what a refusal adds to its no; it may be empty."""

    agrees: bool
    reason: str = ""


def consent(answer: Any) -> Consent | None:
    """Return the yes or no in an answer, a text or a boolean; None if it is not clear."""
    if isinstance(answer, bool):
        return Consent(answer)
    if not isinstance(answer, str) or "?" in answer:
        return None
    text = answer.replace("’", "'")
    verdicts = [_verdict(words) for words in _clauses(text)]
    if verdicts and all(verdicts):
        return Consent(True)
    if verdicts and verdicts[0] is False and True not in verdicts:
        return Consent(False, _reason(text))
    return None


def _clauses(text: str) -> list[list[str]]:
    """Return the words of each clause; clauses of fillers alone are left out."""
    clauses = [_WORD.findall(clause.lower()) for clause in _BREAK.split(text)]
    return [words for words in clauses if set(words) - FILLERS]


def _reason(text: str) -> str:
    """Return what a refusal says beyond its no."""
    no = _LEADING_NO.match(text)
    reason = text[no.end() if no else 0 :].strip()
    bare = all(_consists_of(words, _NO + _FORBIDS) for words in _clauses(reason))
    return "" if bare else reason


def _verdict(words: list[str]) -> bool | None:
    """Whether a clause agrees, refuses, or does neither."""
    if _consists_of(words, _YES):
        return True
    while words and words[0] in FILLERS:
        words = words[1:]
    refusal = _begins_with(words, _FORBIDS)
    if refusal:
        return None if UNSURE & set(words[refusal:]) else False
    refusal = _begins_with(words, _NO)
    if not refusal or len(words) > LONG:
        return None
    rest = [word for word in words[refusal:] if word not in FILLERS]
    return False if not rest or _verdict(rest) is False else None


def _consists_of(words: list[str], phrases: list[list[str]]) -> bool:
    """Whether a clause consists of phrases and fillers alone."""
    while words and len(words) <= LONG:
        length = _begins_with(words, phrases) or (1 if words[0] in FILLERS else 0)
        if not length:
            return False
        words = words[length:]
    return not words


def _begins_with(words: list[str], phrases: list[list[str]]) -> int:
    """Return the length in words of the longest phrase that a clause begins with; else 0."""
    for phrase in phrases:
        if words[: len(phrase)] == phrase:
            return len(phrase)
    return 0


def _phrases(text: str) -> list[list[str]]:
    """Return the words of each phrase, the longest first."""
    return sorted((phrase.split() for phrase in text.split("|")), key=len, reverse=True)


_YES, _NO, _FORBIDS = _phrases(YES), _phrases(NO), _phrases(FORBIDS)
_LEADING_NO = re.compile(
    rf"\s*(?:(?:{'|'.join(map(' '.join, _phrases(f'{NO}|{REJECTS}')))})\b[\s,.;:!–—-]*)+",
    re.IGNORECASE,
)
