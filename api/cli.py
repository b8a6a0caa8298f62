"""The command `antiphon`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from antiphon.api.auth import Authenticator
from antiphon.api.problems import Problem
from antiphon.api.settings import Settings, SettingsError, read_settings
from antiphon.data import open_database, transactions
from antiphon.data.errors import AntiphonError
from antiphon.orchestrator.clock import now_ms

if TYPE_CHECKING:
    from antiphon.orchestrator.flows.definition import FlowInvalid
    from antiphon.orchestrator.flows.library import FlowLibrary


def _settings(**options: Any) -> Settings:
    try:
        return read_settings(**options)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _failures_in_one_line() -> Iterator[None]:
    """Report an error of a database or a file as one line, without a traceback."""
    try:
        yield
    except (AntiphonError, ValueError, OSError) as error:
        raise click.ClickException(" ".join(str(error).split())) from None


@click.group()
@click.version_option(version("antiphon"), prog_name="antiphon")
def main() -> None:
    """A multi-agent chat orchestrator: LangGraph on Litestar, any chat frontend, nothing lost."""


@main.command()
@click.option("--host", help="Address to listen on [127.0.0.1].")
@click.option("--port", type=int, help="Port to listen on [8000].")
@click.option("--db", "database_url", help="Database URL, for example sqlite:///chat.db.")
@click.option(
    "--graph",
    "graphs",
    multiple=True,
    help=(
        "Serve this LangGraph graph: path.py:name, package.module:name, or a langgraph.json."
        " May be repeated."
    ),
)
@click.option("--model", help="offline, or openai:<model>.")
def serve(**options: Any) -> None:
    """Serve the team, and graphs of your own.

    Without --graph, the graphs of a langgraph.json in the current folder are served beside the
    team.
    """
    from antiphon.api.logs import configure
    from antiphon.api.serve import serve as run
    from antiphon.orchestrator.opening import check, check_database, default_database

    settings = _settings(**options)
    configure(settings.log_level)
    with _failures_in_one_line():
        asyncio.run(check_database(settings.database_url or default_database()))
    try:
        graphs = check(settings.model, _graphs_of(settings))
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise click.ClickException(f"cannot serve: {error}") from None
    try:
        sys.exit(run(settings, graphs))
    except (OSError, UnicodeError) as error:  # UnicodeError: a malformed host name
        reason = getattr(error, "strerror", None) or error
        place = f"{settings.host}:{settings.port}"
        raise click.ClickException(f"cannot listen on {place}: {reason}") from None


def _graphs_of(settings: Settings) -> tuple[str, ...]:
    """Return the graphs of the settings, or else the langgraph.json in the current folder."""
    return settings.graphs or (("langgraph.json",) if Path("langgraph.json").is_file() else ())


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--db", "database_url", help="Database URL of the server.")
@click.option(
    "--clear", is_flag=True, help="Remove all documents first, including the shipped sample."
)
def ingest(paths: tuple[Path, ...], database_url: str | None, clear: bool) -> None:
    """Add Markdown and text files to the knowledge base."""
    from antiphon.orchestrator.opening import default_database
    from antiphon.rag import knowledge_url, open_store
    from antiphon.rag.ingest import ingest as load

    settings = _settings(database_url=database_url)
    url = settings.database_url or default_database()
    with _failures_in_one_line(), closing(open_store(knowledge_url(url))) as store:
        if clear:
            store.clear()
        count = load(store, paths)
        click.echo(f"{count} documents added, {store.documents()} in all")


@main.command()
@click.argument("user")
@click.option("--email", help="The email claim.")
@click.option("--name", help="The name claim.")
@click.option(
    "--access",
    multiple=True,
    help="A label of documents that the user may see, for example internal.",
)
@click.option("--hours", default=12.0, show_default=True, help="How long the token is valid.")
def token(
    user: str, email: str | None, name: str | None, access: tuple[str, ...], hours: float
) -> None:
    """Mint a token for testing. Requires ANTIPHON_JWT_SECRET."""
    claims: dict[str, Any] = {}
    if email:
        claims["email"] = email
    if name:
        claims["name"] = name
    if access:
        claims["access"] = list(access)
    now = int(time.time())  # noqa: TID251 - tokens use wall-clock seconds
    try:
        click.echo(Authenticator(_settings()).mint(user, int(hours * 3600), now, **claims))
    except Problem as problem:
        raise click.ClickException(problem.message) from None


@main.command()
@click.option("--user", help="Every token that this user has now.")
@click.option("--jti", help="The one token with this id.")
@click.option("--db", "database_url", help="Database URL of the server.")
def revoke(user: str | None, jti: str | None, database_url: str | None) -> None:
    """Revoke tokens in every server on the database. Open connections are closed."""
    from antiphon.orchestrator.opening import default_database

    if (user is None) == (jti is None):
        raise click.UsageError("give either --user or --jti")
    url = _settings(database_url=database_url).database_url or default_database()
    with _failures_in_one_line():
        asyncio.run(_revoke(url, "user" if user else "jti", user or jti or ""))
    click.echo("revoked")


async def _revoke(url: str, kind: str, value: str) -> None:
    database = await open_database(url)
    try:
        await database.write(transactions.revoke, kind, value, now_ms())
    finally:
        await database.close()


@main.group()
def flow() -> None:
    """Manage flows, the graphs that users define, as JSON or YAML."""


_DB = click.option("--db", "database_url", help="Database URL of the server.")
_USER = click.option("--user", default="local", show_default=True, help="The flow's owner.")


@flow.command("list")
@_USER
@_DB
def list_flows(user: str, database_url: str | None) -> None:
    """List a user's flows: id, version of the draft, published version."""

    async def work(library: FlowLibrary) -> list[Any]:
        return await library.mine(user)

    for listed in _with_flows(database_url, work):
        _print_versions(listed)


def _print_versions(listed: Any) -> None:
    published = listed.published or "-"
    click.echo(f"{listed.agent_id}\tdraft {listed.draft}\tpublished {published}")


@flow.command("export")
@click.argument("agent_id")
@click.option(
    "--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True
)
@click.option("--published", is_flag=True, help="The published version instead of the draft.")
@_USER
@_DB
def export_flow(
    agent_id: str, form: str, published: bool, user: str, database_url: str | None
) -> None:
    """Print a flow's definition; `team` is the built-in team."""
    from antiphon.orchestrator.flows.language import text

    async def work(library: FlowLibrary) -> Any:
        if agent_id == "team":
            return library.built_in()
        return await library.definition(agent_id, user, published=published)

    definition = _with_flows(database_url, work)
    click.echo(text.to_yaml(definition) if form == "yaml" else text.to_json(definition), nl=False)


@flow.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--agent-id", help="The flow whose draft it becomes; without it, a new flow.")
@click.option("--publish", is_flag=True, help="Publish it at once, so that others can run it.")
@_USER
@_DB
def import_flow(
    file: Any, agent_id: str | None, publish: bool, user: str, database_url: str | None
) -> None:
    """Store a definition, JSON or YAML, as a draft; `-` reads standard input."""

    async def work(library: FlowLibrary) -> Any:
        saved = await library.save(file.read(), user, agent_id)
        return await library.publish(saved.agent_id, user) if publish else saved

    _print_versions(_with_flows(database_url, work))


@flow.command("check")
@click.argument("file", type=click.File("rb"))
def check_flow(file: Any) -> None:
    """Report the errors of a definition, JSON or YAML, with their lines and columns."""
    from antiphon.orchestrator.flows.definition import FlowInvalid
    from antiphon.orchestrator.flows.library import checked_definition
    from antiphon.orchestrator.team.agents import TEAM

    try:
        checked_definition(file.read(), TEAM.names)
    except FlowInvalid as invalid:
        raise click.ClickException(_error_report(invalid)) from None
    click.echo("the flow can be executed")


def _error_report(invalid: FlowInvalid) -> str:
    lines = []
    for problem in invalid.problems:
        place = problem.path or "/"
        if problem.line is not None:
            place = f"line {problem.line}, column {problem.column} ({place})"
        if problem.within is not None:
            place += f", there at {problem.within[0]}:{problem.within[1]}"
        lines.append(f"{place}: {problem.message} [{problem.code}]")
    return "the flow cannot be executed\n" + "\n".join(lines)


def _with_flows(database_url: str | None, work: Callable[[FlowLibrary], Awaitable[Any]]) -> Any:
    """Return the result of `work` on a database's flows. Raises `ClickException` for its errors."""
    from antiphon.orchestrator.flows.definition import FlowInvalid
    from antiphon.orchestrator.opening import default_database, open_library

    async def run() -> Any:
        url = _settings(database_url=database_url).database_url or default_database()
        async with open_library(url) as library:
            return await work(library)

    with _failures_in_one_line():
        try:
            return asyncio.run(run())
        except FlowInvalid as invalid:
            raise click.ClickException(_error_report(invalid)) from None


@main.command()
def doctor() -> None:
    """Check the installation and the settings."""
    problems = _bad_settings()
    if not problems:
        problems = _bad_graphs()
    for problem in problems:
        click.echo(f"problem: {problem}")
    click.echo("everything is in order" if not problems else f"{len(problems)} found")
    sys.exit(1 if problems else 0)


def _bad_graphs() -> list[str]:
    from antiphon.orchestrator.opening import check

    settings = read_settings()
    try:
        check(settings.model, _graphs_of(settings))
    except (ValueError, TypeError, OSError, ImportError) as error:
        return [str(error)]
    return []


def _bad_settings() -> list[str]:
    try:
        read_settings()
    except SettingsError as error:
        return [str(error)]
    return []
