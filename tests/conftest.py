"""What holds for every tier."""

import signal

# The library's own pytest plugin, whether the checkout is installed or not.
pytest_plugins = ["cifra_jobs.testing.plugin"]

# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that: tests
# that interrupt a process must not depend on how they themselves were started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
