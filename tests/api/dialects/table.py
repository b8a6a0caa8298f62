"""The vocabularies that all are tested: those of the product, and the one that the documentation shows."""

from __future__ import annotations

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect
from tests.api.dialects.toy import Toy

TABLE: dict[str, Dialect] = {**DIALECTS, Toy.name: Toy()}
