"""``python -m workers default`` is ``cifra worker start --worker default``."""

from __future__ import annotations

import sys
from pathlib import Path

from cifra_jobs.cli import main

if __name__ == "__main__":
    config = Path(__file__).with_name("worker_config.yaml")
    chosen = ["--worker", sys.argv[1]] if sys.argv[1:] else ["--all"]
    sys.argv[1:] = ["worker", "start", "--config", str(config), *chosen, *sys.argv[2:]]
    main()
