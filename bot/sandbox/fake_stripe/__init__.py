"""A fake Stripe over HTTP, to run and test Kvit without a Stripe account or a network."""

from bot.sandbox.fake_stripe.options import Options
from bot.sandbox.fake_stripe.server import FakeStripe
from bot.sandbox.fake_stripe.store import Attempt, Delivery, ObjectStore, RequestRecord

__all__ = ["Attempt", "Delivery", "FakeStripe", "ObjectStore", "Options", "RequestRecord"]
