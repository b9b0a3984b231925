"""Puts passwords into RabbitMQ's definitions: reads them from the environment, writes hashes.

``CIFRA_PASSWORD_WORKER=… python deploy/definitions.py rabbitmq/definitions.json`` sets the password
of ``cifra-worker`` in what it prints; a user without a variable keeps none and cannot log in. Needs
nothing but Python.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PREFIX = "CIFRA_PASSWORD_"


def password_hash(password: str, salt: bytes) -> str:
    """What RabbitMQ keeps of a password: salted SHA-256.

    Args:
        password: in clear.
        salt: four random bytes.
    """
    # RabbitMQ's own scheme; a slower one is not on offer.
    digest = hashlib.sha256(salt + password.encode()).digest()
    return base64.b64encode(salt + digest).decode()


def with_passwords(definitions: dict[str, Any], passwords: Mapping[str, str]) -> dict[str, Any]:
    """The definitions with the hashes of these passwords.

    Args:
        definitions: parsed; every user is called ``cifra-<role>``.
        passwords: by role, in lower case.

    Raises:
        KeyError: a password is for a role that has no user.
    """
    users = {user["name"].removeprefix("cifra-"): user for user in definitions["users"]}
    for role in passwords:
        if role not in users:
            known = ", ".join(sorted(f"{PREFIX}{name.upper()}" for name in users))
            raise KeyError(f"{PREFIX}{role.upper()} is for no user: known are {known}.")
    filled = [
        {**user, "password_hash": password_hash(passwords[role], secrets.token_bytes(4))}
        if passwords.get(role)
        else user
        for role, user in users.items()
    ]
    return {**definitions, "users": filled}


def main(arguments: list[str]) -> int:
    """Print the definitions with passwords.

    Args:
        arguments: the file.

    Returns:
        The exit code.
    """
    passwords = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX)
    }
    definitions = json.loads(Path(arguments[0]).read_text())
    try:
        filled = with_passwords(definitions, passwords)
    except KeyError as error:
        sys.stderr.write(f"{error.args[0]}\n")
        return 1
    sys.stdout.write(json.dumps(filled, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
