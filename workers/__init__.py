"""The application: one module of tasks per queue, and what those tasks do their work with.

Importing this package imports every task, which opens no connection and reads no file.
"""

from workers import cpu_intensive, default, high_priority, io_intensive, lifespan

__all__ = ["cpu_intensive", "default", "high_priority", "io_intensive", "lifespan"]
