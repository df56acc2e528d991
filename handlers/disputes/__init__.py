"""Disputes and fraud warnings, as Stripe reports them."""
