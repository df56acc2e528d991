"""Runs nginx and Caddy with the configuration of deploy/."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
import pytest

from bot.settings import Settings
from tests.support.world import free_port

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
CADDY, NGINX = ((DEPLOY / name).read_text("utf-8") for name in ("Caddyfile", "nginx.conf"))
NAME = "pay.example.dk"
UPSTREAM = f"127.0.0.1:{Settings.model_fields['port'].default}"
CLIENT_HEADER = "X-Test-Client"
"""A request with this header comes from that address, as far as nginx can tell."""

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass
class Proxy:
    """A proxy at `base`, with its logs in `folder`."""

    base: str
    folder: Path
    connections: list[Connection] = field(default_factory=list)

    def logs(self) -> str:
        """Everything that the proxy has logged."""
        return "\n".join(file.read_text("utf-8") for file in self.folder.glob("*.log"))

    async def connect(self, first: bytes = b"") -> Connection:
        """A new connection, on which `first` is sent; it is closed together with the proxy."""
        url = urlsplit(self.base)
        context = any_certificate() if url.scheme == "https" else None
        reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=context)
        writer.write(first)
        connection = Connection(reader, writer)
        self.connections.append(connection)
        return connection

    async def close(self) -> None:
        """Closes the connections, without TLS's goodbye."""
        for connection in self.connections:
            connection.writer.transport.abort()
        ends = (connection.writer.wait_closed() for connection in self.connections)
        await asyncio.gather(*ends, return_exceptions=True)

    async def response(self, path: str, method: str = "GET") -> tuple[int, Mapping[str, str], str]:
        """Status, headers and text."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.base}{path}", headers={"Host": NAME}, ssl=any_certificate()) as response,
        ):
            return response.status, response.headers, await response.text()

    async def request(
        self, path: str, method: str = "GET", body: bytes | None = None, client: str = ""
    ) -> tuple[int, bytes]:
        """Status and body; of a response that breaks off, what came before."""
        headers = {"Host": NAME} | ({CLIENT_HEADER: client} if client else {})
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, f"{self.base}{path}", data=body and io.BytesIO(body), headers=headers, ssl=any_certificate()
            ) as response,
        ):
            read = bytearray()
            with suppress(aiohttp.ClientPayloadError):
                async for piece in response.content.iter_any():
                    read += piece
            return response.status, bytes(read)


@dataclass
class Connection:
    """A client's connection to a proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def status(self) -> int | None:
        """The status of the next response; None if the connection ends first."""
        try:
            async with asyncio.timeout(20):
                head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        await self.reader.readexactly(int(length[1]) if length else 0)
        return int(head.split()[1])

    async def closed(self) -> None:
        """Returns once the proxy has closed the connection."""
        with suppress(ConnectionResetError):
            async with asyncio.timeout(20):
                await self.reader.read()

    async def is_open(self) -> bool:
        """Whether a request gets a response."""
        self.writer.write(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        return await self.status() == 200


class RunProxy(Protocol):
    """Starts a proxy before `upstream`, with some of its settings replaced."""

    def __call__(
        self, upstream: str, folder: Path, changes: Mapping[str, str] = ...
    ) -> AbstractAsyncContextManager[Proxy]: ...


def any_certificate() -> ssl.SSLContext:
    """A TLS context for the test's own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def program(name: str) -> str:
    """The program; without it the test is skipped, or fails if KVIT_PROXIES=required is set."""
    found = shutil.which(name)
    if found is not None:
        return found
    if os.environ.get("KVIT_PROXIES") == "required":
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")


def changed(conf: str, changes: Mapping[str, str]) -> str:
    """The configuration with these settings replaced; each has to be in it."""
    for before, after in changes.items():
        assert before in conf, before
        conf = conf.replace(before, after)
    return conf


@asynccontextmanager
async def nginx(upstream: str, folder: Path, changes: Mapping[str, str] = {}) -> AsyncIterator[Proxy]:
    """nginx with deploy/nginx.conf."""
    command, port = program("nginx"), free_port()
    make_certificate = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        f"/CN={NAME}",
    ]
    make_certificate += ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run(make_certificate, check=True, capture_output=True, timeout=60)
    conf = changed(NGINX, changes).replace(UPSTREAM, upstream)
    conf = conf.replace("/etc/nginx/kvit", str(DEPLOY))
    for path in ("/var/log/nginx", f"/etc/letsencrypt/live/{NAME}"):
        conf = conf.replace(path, str(folder))
    conf = re.sub(r"listen \[::\]:.*;", "", conf)
    conf = conf.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    conf = conf.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    http = [f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY]
    http += ["set_real_ip_from 127.0.0.1;", f"real_ip_header {CLIENT_HEADER};", conf, "}"]
    user = "user root; " if os.geteuid() == 0 else ""  # or its workers could not write into the folder
    main = f"{user}daemon off; pid {folder}/pid; error_log {folder}/start.log; events {{ worker_connections 4096; }}"
    (folder / "nginx.conf").write_text("\n".join([main, "http {", *http]), "utf-8")
    async with running([command, "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, port):
        proxy = Proxy(f"https://127.0.0.1:{port}", folder)
        try:
            yield proxy
        finally:
            await proxy.close()


@asynccontextmanager
async def caddy(upstream: str, folder: Path, changes: Mapping[str, str] = {}) -> AsyncIterator[Proxy]:
    """Caddy with deploy/Caddyfile."""
    command, port = program("caddy"), free_port()
    conf = changed(CADDY, changes).replace(UPSTREAM, upstream).replace("/etc/caddy/kvit", str(DEPLOY))
    conf = conf.replace(f"{NAME} {{", f"http://{NAME}:{port} {{").replace("{\n", "{\n\tadmin off\n", 1)
    (folder / "Caddyfile").write_text(conf, "utf-8")
    arguments = ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    async with running([command, *arguments], folder, port):
        proxy = Proxy(f"http://127.0.0.1:{port}", folder)
        try:
            yield proxy
        finally:
            await proxy.close()


@asynccontextmanager
async def running(command: list[str], folder: Path, port: int) -> AsyncIterator[None]:
    """The program, from the moment it listens; its output goes into `output.log`."""
    homes = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "output.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output, env=os.environ | homes)
    try:
        async with asyncio.timeout(30):
            while not await listens(port):
                assert process.returncode is None, (folder / "output.log").read_text("utf-8")
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def listens(port: int) -> bool:
    """Whether a connection to this port succeeds."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
