"""Building blocks for running work: queue worker, background tasks, locks, heartbeats, throttled warnings."""
