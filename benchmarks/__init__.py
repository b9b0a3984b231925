"""Cifra Jobs beside Dramatiq and Celery: `python -m benchmarks`. The method is in README.md."""
