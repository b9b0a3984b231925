"""``python -m cifra_jobs`` is ``cifra``."""

from cifra_jobs.cli import main

if __name__ == "__main__":
    main()
