"""Pipes: what carries messages from senders to workers."""
