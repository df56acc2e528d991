"""Stripe events: what each one does, and the backfill of those that no webhook brought."""
