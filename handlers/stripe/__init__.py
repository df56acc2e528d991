"""What the application needs from Stripe: the gateway protocol, events, error codes, retries."""
