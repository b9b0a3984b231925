"""The machines: workers, their processes, and the one that keeps them up."""
