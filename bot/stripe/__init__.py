"""The client for Stripe's API; the only package that imports Stripe's library."""

import os

# The library reads this variable when it is imported, and then prints requests and responses, client secrets included.
os.environ.pop("STRIPE_LOG", None)
