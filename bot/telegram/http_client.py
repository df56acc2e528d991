"""PTB's HTTP backend on one aiohttp session: it alone knows the token, and tells "surely not sent" from "perhaps"."""

from __future__ import annotations

import io
import json
import os
import re
from time import perf_counter
from typing import Any

import aiohttp
from telegram._utils.defaultvalue import DefaultValue
from telegram._utils.types import ODVInput
from telegram.error import NetworkError, TelegramError
from telegram.request import BaseRequest, RequestData
from telegram.request._requestparameter import RequestParameter

from bot.api_calls import OnApiCall

# PTB warns of a deprecation in the constructor of `RetryAfter` itself unless it is told that we want the new way.
os.environ["PTB_TIMEDELTA"] = "true"

API = "https://api.telegram.org"
TELEGRAM = "telegram"
PLACEHOLDER_TOKEN = "token"  # noqa: S105 - it is what PTB is given instead, so that its logs and errors cannot tell
_TOKEN = re.compile(r"(\d+):[A-Za-z0-9_-]+")
_UPLOAD_SECONDS = 20.0
Seconds = ODVInput[float]
"""A number, None for no limit, or PTB's mark for "as usual"."""


class RequestNotSent(NetworkError):
    """Telegram was not reached; nothing can have happened there."""


class OutcomeUnknown(NetworkError):
    """The request left and no answer can be had: Telegram may or may not have done it."""


class AiohttpRequest(BaseRequest):
    """Requests of PTB, and raw ones by `call`, over one pool of connections.

    Whoever uses it writes `PRETEND_TOKEN` where the token belongs (`address`); the real one is put in here, on the
    way out, and is taken out of every refusal on the way in. Redirects are not followed: the token is in the path.
    """

    __slots__ = (
        "_address",
        "_connect",
        "_connections",
        "_on_call",
        "_owned",
        "_read",
        "_session",
        "_token",
        "address",
        "bot_id",
    )

    def __init__(
        self,
        token: str,
        *,
        base: str = API,
        session: aiohttp.ClientSession | None = None,
        connections: int = 64,
        read: float = 25.0,
        connect: float = 5.0,
        on_call: OnApiCall | None = None,
    ) -> None:
        """`base` is `scheme://host:port`; `read` and `connect` are seconds, `connect` includes waiting for the pool.

        `on_call` is called after each request.

        A `session` that is given is not closed here. Raises ValueError if the token does not look like one.
        """
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise ValueError("a bot token looks like 123456789:ABC-DEF…")
        self.bot_id = int(found[1])
        self.address = f"{base}/bot"
        self._token = token
        self._session = session
        self._owned = session is None
        self._connections = connections
        self._read = read
        self._connect = connect
        self._on_call = on_call

    @property
    def read_timeout(self) -> float:
        """Seconds without a byte of an answer after which we give up."""
        return self._read

    async def initialize(self) -> None:
        """Make the pool, if it is ours and there is none; may be called again."""
        if self._owned and (self._session is None or self._session.closed):
            # Shorter than Telegram keeps idle connections: writing to one that just closed leaves us in doubt.
            connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": self.USER_AGENT})

    async def shutdown(self) -> None:
        """Close the pool if it is ours; later requests are `NotSent`."""
        if self._owned and self._session is not None:
            await self._session.close()

    async def call(self, method: str, *, read: float | None = None, **parameters: object) -> Any:
        """The raw `result` of a method of the Bot API; `read` seconds instead of the usual ones.

        Raises:
            TelegramError: one of PTB's classes, or of those that `do_request` names.
        """
        data = RequestData([RequestParameter(name, value, None) for name, value in parameters.items()])
        try:
            return await self.post(f"{self.address}{PLACEHOLDER_TOKEN}/{method}", data, read_timeout=read or self._read)
        except KeyError:
            raise TelegramError("the answer has no result") from None

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Seconds = BaseRequest.DEFAULT_NONE,
        write_timeout: Seconds = BaseRequest.DEFAULT_NONE,
        connect_timeout: Seconds = BaseRequest.DEFAULT_NONE,
        pool_timeout: Seconds = BaseRequest.DEFAULT_NONE,
    ) -> tuple[int, bytes]:
        """Status and body. A wait for the pool counts as connecting, so `pool_timeout` is not looked at.

        Raises:
            NotSent: no connection was had.
            PerhapsSent: no answer after the request left, or a server error (5xx), which a proxy may say of a
                request that Telegram carried out.
        """
        session = await self._open()
        timeout = self._timeout(read_timeout, write_timeout, connect_timeout)
        where = url.replace(f"{self.address}{PLACEHOLDER_TOKEN}", f"{self.address}{self._token}", 1)
        began, status, call = perf_counter(), 0, url.rpartition("/")[2]
        try:
            async with session.request(
                method, where, data=_body(request_data), timeout=timeout, allow_redirects=False
            ) as answer:
                status, payload = answer.status, await answer.read()
        # Not "from error": aiohttp's errors name the address, and the token is in it.
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise RequestNotSent(f"no connection ({type(error).__name__})") from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise OutcomeUnknown(f"no answer ({type(error).__name__})") from None
        finally:
            if self._on_call is not None:
                self._on_call(TELEGRAM, call, perf_counter() - began, status)
        if status >= 500:
            raise OutcomeUnknown(f"server error ({status})")
        return status, payload if status < 300 else payload.replace(self._token.encode(), b"[token]")

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """The answer as an object; unlike PTB's own, it does not log what cannot be read."""
        try:
            found = json.loads(payload.decode("utf-8", "replace"))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TelegramError("the answer is not a JSON object")
        return found

    async def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            await self.initialize()
        if self._session is None or self._session.closed:
            raise RequestNotSent("the connections are closed")
        return self._session

    def _timeout(
        self, read: ODVInput[float], write: ODVInput[float], connect: ODVInput[float]
    ) -> aiohttp.ClientTimeout:
        reading = self._read if isinstance(read, DefaultValue) else read
        writing = _UPLOAD_SECONDS if isinstance(write, DefaultValue) else write
        connecting = self._connect if isinstance(connect, DefaultValue) else connect
        # aiohttp has no limit for writing, so the whole gets one: a peer that stops reading shall not hold us.
        total = None if None in (reading, writing, connecting) else sum(filter(None, (reading, writing, connecting)))
        return aiohttp.ClientTimeout(total=total, connect=connecting, sock_read=reading)


def _body(data: RequestData | None) -> aiohttp.FormData | dict[str, str] | None:
    if data is None:
        return None
    if not data.contains_files:
        return data.json_parameters
    form = aiohttp.FormData()
    for name, value in data.json_parameters.items():
        form.add_field(name, value)
    for name, (filename, content, kind) in data.multipart_data.items():
        # As a file, for aiohttp writes plain bytes in one go and holds everybody up meanwhile.
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        form.add_field(name, file, filename=filename, content_type=kind)
    return form
