import pytest

from cifra_jobs.brokers.rabbitmq.urls import describe, split_urls


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("amqp://localhost", ["amqp://localhost"]),
        ("amqp://u:p@a:1,b:2/v?x=1", ["amqp://u:p@a:1/v?x=1", "amqp://u:p@b:2/v?x=1"]),
        ("amqp://a/, amqps://b/", ["amqp://a/", "amqps://b/"]),
        ("amqp://a,b", ["amqp://a", "amqp://b"]),
    ],
)
def test_several_hosts_are_several_urls(url: str, urls: list[str]) -> None:
    assert split_urls(url) == urls


@pytest.mark.parametrize("url", ["redis://localhost", "localhost:5672", "amqp://", ""])
def test_what_is_no_broker_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a broker URL looks like"):
        split_urls(url)


def test_a_refusal_does_not_repeat_the_password() -> None:
    with pytest.raises(ValueError, match="looks like") as caught:
        split_urls("http://user:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_an_address_is_shown_without_the_password() -> None:
    assert describe("amqp://user:hunter2@rabbit:1234/shop") == "rabbit:1234/shop"
    assert describe("amqps://rabbit/") == "rabbit:5671"
