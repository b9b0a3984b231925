"""A task that sends another one."""

from cifra_jobs import task


@task
def send_email(to: str, subject: str) -> str:
    return f"{subject} -> {to}"


@task
def sign_up(name: str, address: str) -> str:
    send_email.send(address, f"welcome {name}")
    return name
