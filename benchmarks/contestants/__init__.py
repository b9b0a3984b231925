"""What runs inside a contestant's own interpreter: standard library and that contestant only."""
