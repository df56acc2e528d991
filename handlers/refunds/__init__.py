"""Refunds: use cases, pure decisions, and the sync with Stripe."""
