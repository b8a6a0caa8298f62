"""`/api/v1/profile`: the caller's own profile, and nobody else's."""

from __future__ import annotations

import msgspec
from litestar import delete, get, patch, put
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

from antiphon.api.principal import Principal
from antiphon.api.services import Services
from antiphon.orchestrator.profiles import Profile

PATH = "/api/v1/profile"
NOTHING = Profile()


class ProfileChange(msgspec.Struct, frozen=True, kw_only=True):
    """The fields to change; null empties one, and what is left out stays."""

    name: str | UnsetType | None = UNSET
    language: str | UnsetType | None = UNSET
    tone: str | UnsetType | None = UNSET
    facts: tuple[str, ...] | UnsetType | None = UNSET


@get(PATH)
async def read_profile(
    services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> Profile:
    """The caller's profile; its fields are empty where nothing was told."""
    return await services.engine.profile(principal.id) or NOTHING


@put(PATH)
async def replace_profile(
    data: JSONBody[Profile],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> Profile:
    """Tell anew. It is told to the agents of the caller's runs, from the next message on."""
    await services.engine.save_profile(principal.id, data)
    return data


@patch(PATH)
async def change_profile(
    data: JSONBody[ProfileChange],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> Profile:
    """Change some fields."""
    changed = _changed(await services.engine.profile(principal.id) or NOTHING, data)
    await services.engine.save_profile(principal.id, changed)
    return changed


def _changed(profile: Profile, change: ProfileChange) -> Profile:
    """Return a profile after a JSON merge patch (RFC 7396): null takes a field out."""
    fields = {}
    for name, value in msgspec.structs.asdict(change).items():
        if value is not UNSET:
            fields[name] = getattr(NOTHING, name) if value is None else value
    return msgspec.structs.replace(profile, **fields)


@delete(PATH)
async def forget_profile(
    services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> None:
    """Forget it."""
    await services.engine.forget_profile(principal.id)


ROUTES = (read_profile, replace_profile, change_profile, forget_profile)
