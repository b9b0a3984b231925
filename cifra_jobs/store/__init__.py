"""The only memory: what is known of tasks, workers and waiters."""
