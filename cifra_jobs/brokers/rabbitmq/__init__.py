"""RabbitMQ: topology, delays, publishing with confirms, consuming, dead letters."""
