"""HTTP: the pay page, the webhooks, health and metrics."""
