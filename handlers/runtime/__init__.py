"""Building blocks for running work: queue worker, concurrency, rate limits, heartbeats."""
