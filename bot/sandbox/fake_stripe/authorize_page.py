"""Stripe's test page, where the customer authorizes a payment or lets it fail."""

from __future__ import annotations

import secrets
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiohttp import web
from jinja2 import Environment

from bot.sandbox.fake_stripe import attempts
from bot.sandbox.fake_stripe.api_error import Json
from bot.sandbox.fake_stripe.state import FakeStripeState, RequestCause
from bot.sandbox.fake_stripe.store import Attempt

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>Test payment</title>
{% if open %}<meta http-equiv="refresh" content="{{ left + 1 }}">{% endif %}
<style nonce="{{ nonce }}">
:root { color-scheme: light dark; --line: #d5d9e0; --strong: #1f4fd8; --ink: #16181d; --paper: #fff; --soft: #5b6270 }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a404c; --strong: #8aa8ff; --ink: #eceef2; --paper: #15171c; --soft: #a4abb8 } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 26rem; margin: 0 auto; padding: 2rem 1rem }
.tag { color: var(--soft); font-size: .875rem } .sum { font-size: 2rem; font-weight: 600; margin: .25rem 0 }
p { margin: .5rem 0; overflow-wrap: anywhere }
button { width: 100%; min-height: 48px; margin-top: .75rem; border: 1px solid var(--line); border-radius: 8px;
  background: transparent; color: inherit; font: inherit; cursor: pointer }
button.yes { background: var(--strong); border-color: var(--strong); color: var(--paper); font-weight: 600 }
button:focus-visible { outline: 3px solid var(--strong); outline-offset: 2px }
</style></head><body><main>
<p class="tag">Fake Stripe, MobilePay test payment. No money moves.</p>
<h1 class="sum">{{ amount }}</h1>
{% if description %}<p>{{ description }}</p>{% endif %}
{% if open %}
<p>Ends in <b id="left">{{ "%d:%02d" % (left // 60, left % 60) }}</b></p>
<form method="post">
<button class="yes" name="answer" value="authorize">Authorize test payment</button>
<button name="answer" value="fail">Fail test payment</button>
</form>
<script nonce="{{ nonce }}">
let left = {{ left }}; const shown = document.getElementById("left");
setInterval(() => { if (left > 0) left -= 1;
  shown.textContent = Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0"); }, 1000);
let isAnswered = false;
document.querySelector("form").addEventListener("submit", () => { isAnswered = true; });
setInterval(async () => { // the attempt may end elsewhere
  if (isAnswered) return;
  try {
    const { status } = await fetch(location.href, { method: "HEAD" });
    if (status === 410 && !isAnswered) location.reload();
  } catch {} }, 2000);
</script>
{% else %}<p><b>{{ message }}</b></p>
{% if return_url %}<p><a href="{{ return_url }}">Back to the seller</a></p>{% endif %}{% endif %}
</main></body></html>
"""

CLOSED_TEXTS = {
    "approved": "This payment was authorized. The link cannot be used again.",
    "declined": "This payment failed. The link cannot be used again.",
    "canceled": "This payment was canceled.",
    "replaced": "This link was replaced by a newer one.",
}
EXPIRED_TEXT = "This link has expired: it worked for five minutes."
TEMPLATE = Environment(autoescape=True).from_string(PAGE)


class AuthorizePage:
    """GET shows the payment; POST decides and redirects the customer to `return_url`."""

    def __init__(self, state: FakeStripeState) -> None:
        self.state = state

    def routes(self) -> list[web.RouteDef]:
        path = "/test/authorize/{account}/{nonce}"
        return [web.get(path, self.show), web.post(path, self.decide)]

    async def show(self, request: web.Request) -> web.Response:
        return self._page(self._attempt(request))

    async def decide(self, request: web.Request) -> web.Response:
        attempt = self._attempt(request)
        answer = (await request.post()).get("answer")
        if not self._is_open(attempt):
            return self._page(attempt)
        if answer not in ("authorize", "fail"):
            raise web.HTTPBadRequest(text="answer is authorize or fail\n")
        cause = RequestCause(self.state.now())
        if answer == "authorize":
            attempts.approve(self.state, cause, attempt)
        else:
            attempts.decline(self.state, cause, attempt)
        raise web.HTTPSeeOther(return_address(attempt, self.state.store.intents[attempt.intent]))

    def _attempt(self, request: web.Request) -> Attempt:
        self.state.timers.run_due()
        attempt = self.state.store.links.get(request.match_info["nonce"])
        if attempt is None:
            raise web.HTTPNotFound(text="No such payment link.\n")
        return attempt

    def _is_open(self, attempt: Attempt) -> bool:
        return attempt.outcome is None and self.state.now() < attempt.expires_at

    def _page(self, attempt: Attempt) -> web.Response:
        intent = self.state.store.intents[attempt.intent]
        nonce = secrets.token_urlsafe(12)
        html = TEMPLATE.render(
            amount=f"{intent['amount'] / 100:.2f} {intent['currency'].upper()}",
            description=intent["description"],
            open=self._is_open(attempt),
            left=int((attempt.expires_at - self.state.now()).total_seconds()),
            message=CLOSED_TEXTS.get(attempt.outcome or "", EXPIRED_TEXT),
            return_url=return_address(attempt, intent) if attempt.outcome in ("approved", "declined") else "",
            nonce=nonce,
        )
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
            "base-uri 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        status = 200 if self._is_open(attempt) else 410
        return web.Response(status=status, text=html, content_type="text/html", headers=headers)


def return_address(attempt: Attempt, intent: Json) -> str:
    """`return_url` with the query parameters that Stripe adds."""
    parts = urlsplit(attempt.return_url)
    added = {
        "payment_intent": intent["id"],
        "payment_intent_client_secret": intent["client_secret"],
        "redirect_status": "succeeded" if attempt.outcome == "approved" else "failed",
    }
    query = [*parse_qsl(parts.query, keep_blank_values=True), *added.items()]
    return urlunsplit(parts._replace(query=urlencode(query)))
