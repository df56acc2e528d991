"""The webhook: its settings, and the methods that change them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bot.sandbox.fake_telegram.api_error import Json, bad_request, too_many_requests
from bot.sandbox.fake_telegram.call import Call, Method

_SECRET = re.compile(r"[A-Za-z0-9_-]*")
_KINDS = (
    "message edited_message channel_post edited_channel_post business_connection business_message "
    "edited_business_message deleted_business_messages message_reaction message_reaction_count inline_query "
    "chosen_inline_result callback_query shipping_query pre_checkout_query purchased_paid_media poll poll_answer "
    "my_chat_member chat_member chat_join_request chat_boost removed_chat_boost"
)
KINDS = frozenset(_KINDS.split())


@dataclass
class Webhook:
    """`url` is empty while the bot polls. `version` changes with the settings; older deliveries stop."""

    url: str = ""
    secret: str = ""
    max_connections: int = 40
    version: int = 0
    last_error: Json | None = None
    next_set_at: float = 0

    def methods(self) -> dict[str, Method]:
        return {
            "setWebhook": self.set,
            "deleteWebhook": self.delete,
            "getWebhookInfo": self.info,
        }

    def set(self, call: Call) -> bool:
        """Set the webhook. Plain http is allowed, as on a Bot API server in local mode."""
        url = call.params.text("url")
        if not url:
            return self.delete(call)
        self._check_rate(call)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
        secret = call.params.text("secret_token")
        if len(secret) > 256:
            raise bad_request("secret token is too long")
        if not _SECRET.fullmatch(secret):
            raise bad_request("secret token contains unallowed characters")
        set_allowed_updates(call)
        self._drop_pending(call)
        self._apply(call, url, secret, min(max(call.params.number("max_connections", 40), 1), 100))
        return True

    def delete(self, call: Call) -> bool:
        self._drop_pending(call)
        self._apply(call, "", "", 40)
        return True

    def info(self, call: Call) -> Json:
        updates = call.state.updates
        shown: Json = {
            "url": self.url,
            "has_custom_certificate": False,
            "pending_update_count": len(updates.pending()),
        }
        if self.url:
            shown |= {"max_connections": self.max_connections, "ip_address": "127.0.0.1"}
        if updates.allowed:
            shown["allowed_updates"] = list(updates.allowed)
        return shown | (self.last_error or {})

    def _apply(self, call: Call, url: str, secret: str, connections: int) -> None:
        if (url, secret, connections) != (self.url, self.secret, self.max_connections):
            self.url, self.secret, self.max_connections, self.last_error = url, secret, connections, None
            self.version += 1
        call.state.updates.changes.notify()

    def _check_rate(self, call: Call) -> None:
        now = call.state.now().timestamp()
        if now < self.next_set_at:
            raise too_many_requests(1)
        self.next_set_at = now + 1

    def _drop_pending(self, call: Call) -> None:
        if call.params.flag("drop_pending_updates"):
            call.state.updates.clear()


def set_allowed_updates(call: Call) -> None:
    """Apply `allowed_updates`, if sent. An empty list means the default kinds."""
    requested: Any = call.params.nested("allowed_updates", "allowed updates")
    if isinstance(requested, list):
        call.state.updates.allowed = [kind for kind in requested if isinstance(kind, str) and kind in KINDS]
