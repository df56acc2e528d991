"""Looks whether Telegram knows the bot, and whether its updates come in the way Kvit waits for them."""

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
ANSWER_SECONDS = 8.0


async def check_telegram(settings: Settings) -> list[Finding]:
    """Ask Telegram who the bot is and where its updates go; nothing is changed."""
    token, base = settings.telegram_bot_token.get_secret_value(), settings.telegram_api_base or API
    request = AiohttpRequest(token, base=base, read=ANSWER_SECONDS)
    try:
        me, webhook = await request.call("getMe"), await request.call("getWebhookInfo")
    except TelegramError as error:
        return [failure(TOKEN, *explain(error))]
    finally:
        await request.shutdown()
    known = ok(TOKEN, f"The bot is @{me.get('username', '')}.")
    return [known, _webhook(settings, webhook), _privacy(me)]


def _webhook(settings: Settings, info: Mapping[str, Any]) -> Finding:
    url, expected = str(info.get("url") or ""), f"{settings.public_url}{ROUTE}"
    if not settings.uses_telegram_webhook:
        return _none_expected(url)
    if url != expected:
        leads = f"leads to {_host(url)} instead of {expected}" if url else "is not set, and Kvit waits for it"
        return failure(WEBHOOK, f"The webhook {leads}.", SET_UP)
    brought = info.get("allowed_updates") or ALLOWED_UPDATES  # without a list Telegram brings these and more
    if deaf := [kind for kind in ALLOWED_UPDATES if kind not in brought]:
        return failure(WEBHOOK, f"The webhook does not bring {', '.join(deaf)}.", SET_UP)
    return _as_it_runs(info, expected)


def _none_expected(url: str) -> Finding:
    """Polling: a webhook would take the updates away, and another program may live from it."""
    if not url:
        return ok(WEBHOOK, "None is set, and Kvit asks for updates.")
    remedy = (
        "Start once with `serve --take-over-webhook`, which removes it; or set TELEGRAM_MODE=webhook and PUBLIC_URL."
    )
    return failure(WEBHOOK, f"A webhook that leads to {_host(url)} is set, so Kvit cannot ask for updates.", remedy)


def _as_it_runs(info: Mapping[str, Any], url: str) -> Finding:
    """The right webhook; Telegram keeps the last error for good, so it matters only while updates wait."""
    error, waiting = info.get("last_error_message"), int(info.get("pending_update_count") or 0)
    if not error:
        return ok(WEBHOOK, f"Telegram sends its updates to {url}.")
    said = f"Telegram's last error at the webhook: {error}; {waiting} updates wait."
    refused = "403" in str(error)
    remedy = SET_UP if refused else "See that `serve` runs and that PUBLIC_URL leads to it from the internet."
    return failure(WEBHOOK, said, remedy) if waiting else warning(WEBHOOK, said, "Nothing has to be done: it is over.")


def _privacy(me: Mapping[str, Any]) -> Finding:
    if me.get("can_read_all_group_messages"):
        return ok(PRIVACY, "The bot hears every message of its groups, and takes up its commands alone.")
    remedy = "To have plain ones heard too, make it an admin of the group, or send /setprivacy to @BotFather."
    return warning(PRIVACY, "In groups the bot surely hears only commands that name it, like /pay@TheBot.", remedy)


def _host(url: str) -> str:
    """Where a webhook leads; no more of it, for many keep a secret in the path."""
    return urlsplit(url).hostname or "another place"
