from __future__ import annotations

import pytest

from workers.settings import MailSettings, Settings


def test_a_mail_address_with_account_is_understood() -> None:
    mail = MailSettings.from_url("smtp://shop:p%40ss@mail.example:587?starttls=yes")

    assert (mail.host, mail.port, mail.username, mail.password) == (
        "mail.example",
        587,
        "shop",
        "p@ss",
    )
    assert mail.start_tls is True


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(MailSettings.from_url("smtps://shop:secret@mail.example"))


def test_tls_has_its_own_port() -> None:
    mail = MailSettings.from_url("smtps://mail.example")

    assert (mail.port, mail.use_tls) == (465, True)


def test_a_mail_server_may_listen_on_a_unix_socket() -> None:
    mail = MailSettings.from_url("unix:///run/my%20mail/smtp", "Shop <shop@cifra.example>")

    assert (mail.place, mail.sender) == ("/run/my mail/smtp", "Shop <shop@cifra.example>")


@pytest.mark.parametrize("url", ["mail.example:25", "http://mail.example", "smtp://", "unix:"])
def test_another_kind_of_address_is_refused_with_the_right_form(url: str) -> None:
    with pytest.raises(ValueError, match="must look like smtp://"):
        MailSettings.from_url(url)


def test_host_and_port_may_come_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTP_URL", raising=False)
    monkeypatch.setenv("SMTP_HOST", "mail.example")
    monkeypatch.setenv("SMTP_PORT", "2525")

    mail = Settings.from_environment().mail

    assert (mail.host, mail.port) == ("mail.example", 2525)
