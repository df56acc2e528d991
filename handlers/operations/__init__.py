"""What keeps the installation healthy: reconciler, monitor, alerts, metrics."""
