"""The adapter to Stripe: the only code that imports the `stripe` package."""
