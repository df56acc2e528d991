"""The proxies of deploy/, run as they are: pages go through, and where Kvit fails no page's address is written down."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.deploy.test_proxy_config import CADDY, HERE, NGINX
from tests.support.world import free_port

PAGE = "/p/address-of-a-page"
STREAM = f"{PAGE}/state"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
Between = Callable[[str, Path], AbstractAsyncContextManager["Proxy"]]


@dataclass
class Proxy:
    """A proxy at `base`, and what it has written down so far."""

    base: str
    folder: Path

    def written(self) -> str:
        return "\n".join(file.read_text("utf-8") for file in self.folder.glob("*.log"))


class Kvit:
    """What stands behind: it answers, or breaks a stream off in the middle."""

    async def page(self, _: web.Request) -> web.Response:
        return web.Response(text="a page")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: 1\n\n")
        assert request.transport is not None
        request.transport.abort()
        return answer


@asynccontextmanager
async def kvit() -> AsyncIterator[TestServer]:
    site, behind = web.Application(), Kvit()
    site.add_routes([web.get(PAGE, behind.page), web.get(STREAM, behind.stream)])
    server = TestServer(site)
    async with server:
        yield server


def needs(name: str) -> str:
    """The program; the test is skipped where it is missing, and fails there if KVIT_PROXIES=required is set."""
    found = shutil.which(name)
    if found is not None:
        return found
    words = f"{name} is not here"
    if os.environ.get("KVIT_PROXIES") == "required":
        pytest.fail(words)
    pytest.skip(words)


@asynccontextmanager
async def nginx(behind: str, folder: Path) -> AsyncIterator[Proxy]:
    program, port = needs("nginx"), free_port()
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=pay.example.dk"]
    made += ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    conf = NGINX.replace(HERE, behind)
    for theirs in ("/var/log/nginx", "/etc/letsencrypt/live/pay.example.dk"):
        conf = conf.replace(theirs, str(folder))
    conf = re.sub(r"listen \[::\]:.*;", "", conf)
    conf = conf.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    conf = conf.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    temporary = " ".join(f"{what}_temp_path {folder}/{what};" for what in TEMPORARY)
    whole = f"daemon off; pid {folder}/pid; error_log {folder}/start.log; events {{}} http {{ {temporary}\n{conf}\n}}"
    (folder / "nginx.conf").write_text(whole, "utf-8")
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    async with running(command, folder, port):
        yield Proxy(f"https://127.0.0.1:{port}", folder)


@asynccontextmanager
async def caddy(behind: str, folder: Path) -> AsyncIterator[Proxy]:
    program, port = needs("caddy"), free_port()
    conf = CADDY.replace(HERE, behind).replace("pay.example.dk {", f"http://127.0.0.1:{port} {{")
    conf = conf.replace("{\n", "{\n\tadmin off\n", 1)
    (folder / "Caddyfile").write_text(conf, "utf-8")
    command = [program, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    async with running(command, folder, port):
        yield Proxy(f"http://127.0.0.1:{port}", folder)


@asynccontextmanager
async def running(command: list[str], folder: Path, port: int) -> AsyncIterator[None]:
    """The program, from when it listens until it is terminated; what it says goes into `said.log`."""
    homes = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "said.log").open("wb") as said:
        process = await asyncio.create_subprocess_exec(*command, stdout=said, stderr=said, env=os.environ | homes)
    try:
        async with asyncio.timeout(30):
            while not await listens(port):
                assert process.returncode is None, (folder / "said.log").read_text("utf-8")
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def visit(proxy: Proxy, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    """What a visitor gets; of a stream that broke off, what came before."""
    anything = ssl.create_default_context()
    anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{proxy.base}{path}", data=body, ssl=anything) as answer,
    ):
        read = bytearray()
        with suppress(aiohttp.ClientPayloadError):
            async for piece in answer.content.iter_any():
                read += piece
        return answer.status, bytes(read)


@pytest.mark.parametrize("proxy", [nginx, caddy], ids=["nginx", "caddy"])
async def test_a_page_goes_through_and_its_address_is_written_nowhere_whatever_fails(
    proxy: Between, tmp_path: Path
) -> None:
    async with kvit() as behind, proxy(f"127.0.0.1:{behind.port}", tmp_path) as between:
        assert await visit(between, PAGE) == (200, b"a page")
        assert (await visit(between, STREAM))[1] == b"data: 1\n\n"
        assert (await visit(between, "/metrics"))[0] == 404
        shutil.rmtree(tmp_path / "client_body", ignore_errors=True)  # where nginx keeps a large body meanwhile
        assert (await visit(between, PAGE, "POST", bytes(500_000)))[0] in (405, 500)
        await behind.close()
        assert (await visit(between, PAGE))[0] == 502
        assert (await visit(between, STREAM))[0] == 502
        written = between.written()
    assert "address-of-a-page" not in written + between.written()
