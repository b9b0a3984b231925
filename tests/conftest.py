"""The library's own pytest plugin, whether the checkout is installed or not."""

pytest_plugins = ["cifra_jobs.testing.plugin"]
