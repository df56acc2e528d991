"""Sets Telegram's webhook and the bot's menus, and explains errors to the operator."""

from __future__ import annotations

from telegram.error import BadRequest, InvalidToken, RetryAfter, TelegramError

from bot.findings import Finding, failure, ok
from bot.settings import Settings
from bot.telegram.http_client import AiohttpRequest, OutcomeUnknown, RequestNotSent
from bot.telegram.menus import call_with_retry_after, menu_languages, set_bot_menus
from bot.telegram.messenger import retry_after_seconds
from bot.telegram.polling import ALLOWED_UPDATES

ROUTE = "/telegram/webhook"
MAX_CONNECTIONS = 40
WEBHOOK, MENUS = "telegram webhook", "telegram menus"


async def set_webhook(request: AiohttpRequest, settings: Settings) -> Finding:
    """Sets the webhook, if Kvit gets its updates that way."""
    if not settings.uses_telegram_webhook:
        return ok(WEBHOOK, "None is needed: Kvit polls for updates (TELEGRAM_MODE).")
    url = f"{settings.public_url}{ROUTE}"
    try:
        await call_with_retry_after(
            request,
            "setWebhook",
            url=url,
            secret_token=settings.update_secret.get_secret_value(),
            allowed_updates=list(ALLOWED_UPDATES),
            drop_pending_updates=False,
            max_connections=MAX_CONNECTIONS,
        )
    except BadRequest as error:
        hint = (
            "Telegram needs an https PUBLIC_URL that is reachable from the internet, on port 443, 80, 88 or 8443, "
            "with a complete certificate chain."
        )
        return failure(WEBHOOK, f"Telegram rejects {url}: {error}.", hint)
    except TelegramError as error:
        return failure(WEBHOOK, *explain(error))
    return ok(WEBHOOK, f"Telegram sends its updates to {url}.")


async def set_menus(request: AiohttpRequest, *, wallet: str) -> Finding:
    """Sets the bot's menus and descriptions, which name the wallet."""
    try:
        await set_bot_menus(request, wallet=wallet)
    except TelegramError as error:
        return failure(MENUS, *explain(error))
    codes = ", ".join(code for code, _ in menu_languages() if code)
    return ok(MENUS, f"The bot has its command menus and descriptions ({codes}).")


def explain(error: TelegramError) -> tuple[str, str]:
    """What failed, and a hint."""
    match error:
        case InvalidToken():
            return "Telegram rejects the bot's token.", "Copy TELEGRAM_BOT_TOKEN from @BotFather (/mybots, API Token)."
        case RetryAfter():
            seconds = f"{retry_after_seconds(error):.0f} seconds"
            return f"Telegram asks to wait for {seconds}.", f"Run this again after {seconds}."
        case RequestNotSent() | OutcomeUnknown():
            hint = "Check that this machine reaches api.telegram.org, or TELEGRAM_API_BASE if set; then try again."
            return f"Telegram cannot be reached: {error}.", hint
        case _:
            return f"Telegram returned an error: {error}.", "Check TELEGRAM_BOT_TOKEN and TELEGRAM_API_BASE."
