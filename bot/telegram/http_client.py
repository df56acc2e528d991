"""The HTTP client for Telegram's Bot API: python-telegram-bot's backend on aiohttp.

It alone knows the bot's token, and tells requests that were not sent from those whose outcome is unknown.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
from telegram.error import NetworkError, TelegramError
from telegram.request import BaseRequest, RequestData

from bot.api_calls import OnApiCall

# Without it the library's `RetryAfter` warns of a deprecation in its own constructor.
os.environ["PTB_TIMEDELTA"] = "true"

API = "https://api.telegram.org"
TELEGRAM = "telegram"
PLACEHOLDER_TOKEN = "token"  # noqa: S105 - the library gets it instead of the token, so its logs and errors hold none
UPLOAD_TIMEOUT = 20.0
_TOKEN = re.compile(r"(\d+):[A-Za-z0-9_-]+")


class RequestNotSent(NetworkError):
    """Telegram was not reached, so the request had no effect."""


class OutcomeUnknown(NetworkError):
    """The request was sent, but got no usable response: Telegram may have carried it out."""


class AiohttpRequest(BaseRequest):
    """Sends the requests of python-telegram-bot, and raw ones by `call`, over one pool of connections.

    URLs contain `PLACEHOLDER_TOKEN` instead of the token. It is replaced just before a request is sent, and the token
    is replaced in error responses. Redirects are not followed, as the token is in the path.
    """

    __slots__ = (
        "_connect",
        "_connections",
        "_on_call",
        "_owns_session",
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
        """`base` is `scheme://host:port`; `read` and `connect` are seconds; `connect` includes waiting for the pool.

        `on_call` is called after each request. A given `session` is not closed here. Raises ValueError for a token of
        the wrong form.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise ValueError("a bot token looks like 123456789:ABC-DEF…")
        self.bot_id = int(match[1])
        self.address = f"{base}/bot"
        self._token = token
        self._session = session
        self._owns_session = session is None
        self._connections = connections
        self._read = read
        self._connect = connect
        self._on_call = on_call

    @property
    def read_timeout(self) -> float:
        """Seconds without a byte of the response after which a request fails."""
        return self._read

    async def initialize(self) -> None:
        """Opens the pool unless it is open or was given."""
        if self._owns_session and (self._session is None or self._session.closed):
            # Shorter than at Telegram: the outcome of a request on a connection that was just closed is unknown.
            connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": self.USER_AGENT})

    async def shutdown(self) -> None:
        """Closes the pool unless it was given; later requests fail with `RequestNotSent`."""
        if self._owns_session and self._session is not None:
            await self._session.close()

    async def call(self, method: str, *, read: float | None = None, **parameters: object) -> Any:
        """The raw `result` of a Bot API method. `read` replaces the usual timeout; None as a parameter is left out.

        Raises:
            TelegramError: one of the library's classes, or of those that `do_request` raises.
        """
        # The library has no public way to build a `RequestData`, so `do_request` finds the parameters in the URL.
        query = urlencode({name: _encode(value) for name, value in parameters.items() if value is not None})
        url = f"{self.address}{PLACEHOLDER_TOKEN}/{method}?{query}"
        try:
            return await self.post(url, read_timeout=read or self._read)
        except KeyError:
            raise TelegramError("the response has no result") from None

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = BaseRequest.DEFAULT_NONE,
        write_timeout: Any = BaseRequest.DEFAULT_NONE,
        connect_timeout: Any = BaseRequest.DEFAULT_NONE,
        pool_timeout: Any = BaseRequest.DEFAULT_NONE,
    ) -> tuple[int, bytes]:
        """Status and body. Waiting for the pool counts as connecting, so `pool_timeout` is ignored.

        Raises:
            RequestNotSent: there was no connection.
            OutcomeUnknown: no response after the request was sent, or a server error (5xx), which a proxy may return
                for a request that Telegram carried out.
        """
        session = await self._open_session()
        timeout = self._timeout(read_timeout, write_timeout, connect_timeout)
        path, _, query = url.partition("?")
        body = dict(parse_qsl(query, keep_blank_values=True)) if request_data is None else _body(request_data)
        target = path.replace(f"{self.address}{PLACEHOLDER_TOKEN}", f"{self.address}{self._token}", 1)
        began, status = perf_counter(), 0
        try:
            async with session.request(
                method, target, data=body or None, timeout=timeout, allow_redirects=False
            ) as response:
                status, payload = response.status, await response.read()
        # Not "from error": aiohttp's errors contain the URL, and with it the token.
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise RequestNotSent(f"no connection ({type(error).__name__})") from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise OutcomeUnknown(f"no response ({type(error).__name__})") from None
        finally:
            if self._on_call is not None:
                self._on_call(TELEGRAM, path.rpartition("/")[2], perf_counter() - began, status)
        if status >= 500:
            raise OutcomeUnknown(f"server error ({status})")
        return status, payload if status < 300 else payload.replace(self._token.encode(), b"[token]")

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """The response as an object; of a message only its id, time and chat.

        So no other field of a message, or of the one that it replies to, makes the library fail after it was sent.
        Unlike the library's own, this does not log a response that cannot be parsed.
        """
        try:
            body = json.loads(payload.decode("utf-8", "replace"))
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise TelegramError("the response is not a JSON object")
        message = body.get("result")
        if isinstance(message, dict) and isinstance(chat := message.get("chat"), dict) and "message_id" in message:
            kept = {name: message[name] for name in ("message_id", "date") if name in message}
            body["result"] = kept | {"chat": {name: chat[name] for name in ("id", "type") if name in chat}}
        return body

    async def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            await self.initialize()
        if self._session is None or self._session.closed:
            raise RequestNotSent("the connections are closed")
        return self._session

    def _timeout(self, read: Any, write: Any, connect: Any) -> aiohttp.ClientTimeout:
        """Each is seconds, None for no limit, or `DEFAULT_NONE` for the usual one."""
        reading = self._read if read is self.DEFAULT_NONE else read
        writing = UPLOAD_TIMEOUT if write is self.DEFAULT_NONE else write
        connecting = self._connect if connect is self.DEFAULT_NONE else connect
        # aiohttp has no limit for writing, so the whole request gets one: the peer may stop reading.
        total = None if None in (reading, writing, connecting) else sum(filter(None, (reading, writing, connecting)))
        return aiohttp.ClientTimeout(total=total, connect=connecting, sock_read=reading)


def _encode(value: object) -> str:
    """A parameter as the Bot API takes it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _body(data: RequestData) -> aiohttp.FormData | Mapping[str, str]:
    if not data.contains_files:
        return data.json_parameters
    form = aiohttp.FormData()
    for name, value in data.json_parameters.items():
        form.add_field(name, value)
    for name, (filename, content, kind) in data.multipart_data.items():
        # As a file: aiohttp writes plain bytes at once, and the event loop waits.
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        form.add_field(name, file, filename=filename, content_type=kind)
    return form
