"""Background jobs over RabbitMQ and Redis."""

__version__ = "0.1.0"
