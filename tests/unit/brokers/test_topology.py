import json
from pathlib import Path

import pytest

from cifra_jobs.brokers.rabbitmq.topology import (
    Exchange,
    QueueSpec,
    Topology,
    build,
    check_queue_name,
    diff,
    map_priority,
    policies,
)

ROOT = Path(__file__).parents[3]


def arguments(topology: Topology, name: str) -> dict[str, object]:
    return dict(next(queue.arguments for queue in topology.queues if queue.name == name))


def test_a_queue_is_classic_with_nine_levels_unless_told_otherwise() -> None:
    topology = build("cifra", {"default": QueueSpec()})
    assert arguments(topology, "cifra.q.default") == {
        "x-queue-type": "classic",
        "x-max-priority": 9,
        "x-dead-letter-exchange": "cifra.dlx",
        "x-dead-letter-routing-key": "default",
    }
    assert arguments(topology, "cifra.dead.default") == {"x-queue-type": "classic"}


def test_a_quorum_queue_keeps_its_dead_at_least_once_and_has_no_levels() -> None:
    topology = build("cifra", {"default": QueueSpec(type="quorum")})
    assert arguments(topology, "cifra.q.default") == {
        "x-queue-type": "quorum",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "cifra.dlx",
        "x-dead-letter-routing-key": "default",
    }


def test_a_queue_without_priorities_has_no_argument_for_them() -> None:
    topology = build("cifra", {"fast": QueueSpec(priorities=0)})
    assert "x-max-priority" not in arguments(topology, "cifra.q.fast")


def test_every_name_begins_with_the_namespace() -> None:
    topology = build("shop", {"default": QueueSpec()})
    names = [each.name for each in topology.exchanges] + [each.name for each in topology.queues]
    assert all(name.startswith("shop.") for name in names)
    assert {"shop.task", "shop.dlx", "shop.unrouted", "shop.delay.00", "shop.delay.27"} < set(names)
    assert {"shop.delay.deliver", "shop.dead._unrouted", "shop.q.default"} < set(names)


def test_every_queue_states_its_type() -> None:
    # A virtual host may have another default, and refuses a declare that differs.
    topology = build("cifra", {"a": QueueSpec(), "b": QueueSpec(type="quorum")})
    assert all("x-queue-type" in queue.arguments for queue in topology.queues)


def test_what_is_bound_exists() -> None:
    topology = build("cifra", {"default": QueueSpec()})
    exchanges = {each.name for each in topology.exchanges}
    queues = {each.name for each in topology.queues}
    for binding in topology.bindings:
        assert binding.source in exchanges
        assert binding.target in (exchanges if binding.is_to_exchange else queues)
    for queue in topology.queues:
        assert queue.arguments.get("x-dead-letter-exchange", "cifra.dlx") in exchanges


@pytest.mark.parametrize("name", ["a.b", "", "a b", "_unrouted", "#", "a" * 101])
def test_a_name_that_would_break_routing_keys_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a queue"):
        check_queue_name(name)


def test_a_spec_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="classic or quorum"):
        QueueSpec(type="stream")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 to 9 levels"):
        QueueSpec(priorities=10)


@pytest.mark.parametrize(
    ("spec", "version", "sent"),
    [
        (QueueSpec(), (3, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (QueueSpec(priorities=3), (3, 10), [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
        (QueueSpec(priorities=1), (3, 10), [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        (QueueSpec(priorities=0), (3, 10), [0] * 10),
        (QueueSpec(type="quorum"), (4, 0), [4, 4, 4, 4, 4, 4, 5, 5, 5, 5]),
        (QueueSpec(type="quorum"), (4, 3), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_priorities_are_mapped_to_what_the_queue_knows(
    spec: QueueSpec, version: tuple[int, int], sent: list[int]
) -> None:
    assert [map_priority(priority, spec, version) for priority in range(10)] == sent


def test_diff_names_what_is_missing_and_what_is_other() -> None:
    expected = build("cifra", {"default": QueueSpec()})
    assert diff(expected, expected) == []
    actual = Topology(
        (Exchange("cifra.task", "topic"), *expected.exchanges[2:]),
        tuple(queue for queue in expected.queues if queue.name != "cifra.q.default"),
        expected.bindings[1:],
    )
    lines = diff(expected, actual)
    assert "exchange 'cifra.unrouted' does not exist" in lines
    assert "exchange 'cifra.task' is type='topic', not type='direct'" in lines
    assert "queue 'cifra.q.default' does not exist" in lines
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("path", "version"), [("definitions-3.x.json", (3, 10)), ("definitions.json", (4, 0))]
)
def test_the_servers_files_set_the_policies_that_the_guarantees_lean_on(
    path: str, version: tuple[int, int]
) -> None:
    written = {
        policy["name"]: (
            policy["pattern"],
            policy["apply-to"],
            policy["priority"],
            policy["definition"],
        )
        for policy in json.loads((ROOT / "rabbitmq" / path).read_text())["policies"]
    }
    for policy in policies("cifra"):
        first, end = policy.versions
        if first <= version and (end is None or version < end):
            assert written[policy.name] == (
                policy.pattern,
                policy.apply_to,
                policy.priority,
                dict(policy.definition),
            )
