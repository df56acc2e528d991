"""Checks the bot's token, its webhook, and the privacy mode in groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from telegram.error import TelegramError

from bot.findings import Finding, failure, ok, warning
from bot.settings import Settings
from bot.telegram.http_client import API, AiohttpRequest
from bot.telegram.polling import ALLOWED_UPDATES
from bot.telegram.webhook_setup import ROUTE, WEBHOOK, explain

TOKEN, PRIVACY = "telegram token", "group privacy"
SET_UP = "Run `python -m bot setup-webhooks`."
CHECK_REACHABLE = "Check that `serve` runs and that PUBLIC_URL leads to it from the internet."
RESPONSE_TIMEOUT = 8.0


async def check_telegram(settings: Settings) -> list[Finding]:
    """The findings about Telegram. Nothing is changed there."""
    token, base = settings.telegram_bot_token.get_secret_value(), settings.telegram_api_base or API
    request = AiohttpRequest(token, base=base, read=RESPONSE_TIMEOUT)
    try:
        me, webhook = await request.call("getMe"), await request.call("getWebhookInfo")
    except TelegramError as error:
        return [failure(TOKEN, *explain(error))]
    finally:
        await request.shutdown()
    bot = ok(TOKEN, f"The bot is @{me.get('username', '')}.")
    return [bot, _webhook(settings, webhook), _privacy(me)]


def _webhook(settings: Settings, info: Mapping[str, Any]) -> Finding:
    url, expected = str(info.get("url") or ""), f"{settings.public_url}{ROUTE}"
    if not settings.uses_telegram_webhook:
        return _no_webhook(url)
    if url != expected:
        problem = f"leads to {_host(url)} instead of {expected}" if url else "is not set, but Kvit needs it"
        return failure(WEBHOOK, f"The webhook {problem}.", SET_UP)
    allowed = info.get("allowed_updates") or ALLOWED_UPDATES  # without a list Telegram sends these and more
    if missing := [kind for kind in ALLOWED_UPDATES if kind not in allowed]:
        return failure(WEBHOOK, f"The webhook does not receive {', '.join(missing)}.", SET_UP)
    return _last_error(info, expected)


def _no_webhook(url: str) -> Finding:
    """With polling, a webhook takes the updates away; another program may need it."""
    if not url:
        return ok(WEBHOOK, "None is set, and Kvit polls for updates.")
    hint = "Start once with `serve --take-over-webhook`, which removes it, or set TELEGRAM_MODE=webhook and PUBLIC_URL."
    return failure(WEBHOOK, f"A webhook that leads to {_host(url)} is set, so Kvit cannot poll for updates.", hint)


def _last_error(info: Mapping[str, Any], url: str) -> Finding:
    """Telegram never forgets its last error, so it matters only while updates are pending."""
    error, pending = info.get("last_error_message"), int(info.get("pending_update_count") or 0)
    if not error:
        return ok(WEBHOOK, f"Telegram sends its updates to {url}.")
    detail = f"Telegram's last error at the webhook: {error}; {pending} updates are pending."
    if not pending:
        return warning(WEBHOOK, detail, "Nothing to do: it is over.")
    is_rejected = "403" in str(error)  # the webhook was set with another secret
    return failure(WEBHOOK, detail, SET_UP if is_rejected else CHECK_REACHABLE)


def _privacy(me: Mapping[str, Any]) -> Finding:
    if me.get("can_read_all_group_messages"):
        return ok(PRIVACY, "The bot receives every message of its groups, and handles only commands.")
    hint = "For plain commands too, make it an admin of the group, or send /setprivacy to @BotFather."
    return warning(PRIVACY, "In groups the bot is sure to receive only commands that name it, like /pay@TheBot.", hint)


def _host(url: str) -> str:
    """The host of a webhook. The rest stays out of the finding: many URLs contain a secret."""
    return urlsplit(url).hostname or "another place"
