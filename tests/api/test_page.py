"""The test page in a real browser, driven over its debugging protocol."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, token, wait_until

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-port=0",
]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")


class Page:
    """A page, by Chrome's debugging protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._connection.send(
            json.dumps({"id": number, "method": method, "params": parameters})
        )
        while True:
            message = json.loads(await self._connection.recv())
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(message["params"]))
            if message.get("id") == number:
                result: dict[str, Any] = message["result"]
                return result

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until an expression about the document is true."""
        script = (
            f"new Promise((done) => {{ const look = () => ({condition}) && done(true);"
            " new MutationObserver(look).observe(document, {subtree: true, childList: true, attributes: true,"
            " characterData: true}); look(); })"
        )
        async with asyncio.timeout(15):
            assert await self.run(script) is True

    async def text(self, element: str) -> str:
        found: str = await self.run(f"document.getElementById('{element}').textContent")
        return found


@asynccontextmanager
async def browser(folder: Path, url: str) -> AsyncIterator[Page]:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    process = await asyncio.create_subprocess_exec(*command, **quiet)
    try:
        port_file = folder / "DevToolsActivePort"
        await asyncio.to_thread(
            wait_until,
            lambda: port_file.exists() and "\n" in port_file.read_text(),
            "chromium did not start",
        )
        port = port_file.read_text().split("\n")[0]
        async with httpx.AsyncClient(trust_env=False) as client:
            targets = (await client.get(f"http://127.0.0.1:{port}/json")).json()
        target = next(one for one in targets if one["type"] == "page")
        async with connect(target["webSocketDebuggerUrl"], proxy=None, max_size=None) as connection:
            page = Page(connection)
            for domain in ("Log", "Runtime", "Page"):
                await page.call(f"{domain}.enable")
            await page.call("Page.navigate", url=url)
            await page.until(
                f"location.href === {json.dumps(url)} && document.readyState === 'complete'"
            )
            yield page
    finally:
        process.kill()
        await process.wait()


async def test_the_page_logs_in_asks_and_shows_the_answer(
    tmp_path: Path, live: LiveServer, guarded: LiveServer, teller: Teller
) -> None:
    """With authentication off at once, with authentication on by a token; markup in an answer is text."""
    hostile = teller.answer(
        "show me", Reply("<img src=x onerror=alert(1)> and\n<b>two</b> lines 🙂", delay=0.01)
    )
    async with browser(tmp_path, f"{live.url}/ws/test") as page:
        await page.until("document.getElementById('state').textContent.startsWith('logged in as')")
        assert await page.run("document.getElementById('send').disabled") is False
        await ask(page, hostile)
        assert (
            await page.text("response") == "<img src=x onerror=alert(1)> and\n<b>two</b> lines 🙂"
        )
        assert await page.run("document.querySelectorAll('#response *').length") == 0
        assert await page.run("document.querySelectorAll('#steps li.done').length") == 4
        assert "specs" in await page.text("metadata")
        await ask(page, "and a second one")
        assert await page.text("response") == "You said: and a second one"
        assert await page.text("error") == ""
        assert not page.complaints, page.complaints

        await page.call("Page.navigate", url=f"{guarded.url}/ws/test")
        await page.until("document.getElementById('error')?.textContent === 'Invalid token'")
        await page.run(
            f"document.getElementById('token').value = {json.dumps(token(name='Ada'))};"
            " document.getElementById('login').requestSubmit()"
        )
        await page.until("document.getElementById('state').textContent === 'logged in as Ada'")
        await ask(page, "logged in by hand")
        assert await page.text("response") == "You said: logged in by hand"


async def ask(page: Page, question: str) -> None:
    await page.run(
        f"document.getElementById('message').value = {json.dumps(question)};"
        " document.getElementById('ask').requestSubmit()"
    )
    await page.until("document.getElementById('metadata').textContent !== ''")
