"""Tells Telegram where to send its updates, and says in an operator's words why it did not work."""

from __future__ import annotations

from telegram.error import BadRequest, InvalidToken, RetryAfter, TelegramError

from bot.findings import Finding, failure, ok
from bot.settings import Settings
from bot.telegram.http_client import AiohttpRequest, OutcomeUnknown, RequestNotSent
from bot.telegram.menus import call_with_retry_after, menu_languages, set_bot_menus
from bot.telegram.messenger import retry_after_seconds
from bot.telegram.polling import ALLOWED_UPDATES

ROUTE = "/telegram/webhook"
CONNECTIONS = 40
WEBHOOK, MENUS = "telegram webhook", "telegram menus"


async def set_webhook(request: AiohttpRequest, settings: Settings) -> Finding:
    """Have Telegram send its updates to us, where that is how Kvit gets them."""
    if not settings.uses_telegram_webhook:
        return ok(WEBHOOK, "None is set, for Kvit asks Telegram for updates (TELEGRAM_MODE).")
    url = f"{settings.public_url}{ROUTE}"
    try:
        await call_with_retry_after(
            request,
            "setWebhook",
            url=url,
            secret_token=settings.update_secret.get_secret_value(),
            allowed_updates=list(ALLOWED_UPDATES),
            drop_pending_updates=False,
            max_connections=CONNECTIONS,
        )
    except BadRequest as error:
        ports = "Telegram needs an https PUBLIC_URL that the internet reaches, on port 443, 80, 88 or 8443, with a full"
        return failure(WEBHOOK, f"Telegram refuses {url}: {error}.", f"{ports} chain of certificates.")
    except TelegramError as error:
        return failure(WEBHOOK, *explain(error))
    return ok(WEBHOOK, f"Telegram sends its updates to {url}.")


async def set_menus(request: AiohttpRequest, *, wallet: str) -> Finding:
    """Give the bot its menus and descriptions, which name the wallet."""
    try:
        await set_bot_menus(request, wallet=wallet)
    except TelegramError as error:
        return failure(MENUS, *explain(error))
    codes = ", ".join(code for code, _ in menu_languages() if code)
    return ok(MENUS, f"The bot has its menus of commands and its descriptions ({codes}).")


def explain(error: TelegramError) -> tuple[str, str]:
    """What went wrong at Telegram, and what to do."""
    match error:
        case InvalidToken():
            remedy = "Copy TELEGRAM_BOT_TOKEN anew from @BotFather (/mybots, API Token)."
            return "Telegram does not know the bot's token.", remedy
        case RetryAfter():
            return (
                f"Telegram asks to wait {retry_after_seconds(error):.0f} seconds.",
                "Wait that long, then run this again.",
            )
        case RequestNotSent() | OutcomeUnknown():
            remedy = "See that this machine reaches api.telegram.org, or what TELEGRAM_API_BASE names; then try again."
            return f"Telegram cannot be reached: {error}.", remedy
        case _:
            return f"Telegram refuses: {error}.", "Read TELEGRAM_BOT_TOKEN and TELEGRAM_API_BASE again."
