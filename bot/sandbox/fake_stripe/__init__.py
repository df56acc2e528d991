"""A pretend Stripe that speaks HTTP, so that Kvit can be tried and tested whole, without an account or a network."""

from bot.sandbox.fake_stripe.ledger import Attempt, Delivery, Ledger, Request
from bot.sandbox.fake_stripe.options import Switches
from bot.sandbox.fake_stripe.server import FakeStripe

__all__ = ["Attempt", "Delivery", "FakeStripe", "Ledger", "Request", "Switches"]
