"""Stripe's fees and payouts: reads them from Stripe's balance."""
