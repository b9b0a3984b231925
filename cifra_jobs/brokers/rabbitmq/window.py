"""Publishes that the broker has not confirmed yet, by their tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.brokers.rabbitmq.batch import Batch

__all__ = ["Entry", "Window"]

#: A batch, and the index of one of its publications.
Entry = tuple["Batch", int]


class Window:
    """What is under way on one channel; tags count from 1 on each."""

    def __init__(self) -> None:
        #: The tag of the next publish.
        self.next_tag = 1
        self.entries: dict[int, Entry] = {}
        self._lowest_tag = 1
        #: Returned as unroutable; the confirm of each is still to come.
        self._returned: set[int] = set()

    def __len__(self) -> int:
        return len(self.entries)

    def take(self, tag: int, *, is_multiple: bool) -> list[Entry]:
        """Remove what this confirm speaks of."""
        pop = self.entries.pop
        if not is_multiple:
            entry = pop(tag, None)
            return [] if entry is None else [entry]
        tags = range(self._lowest_tag, tag + 1)
        self._lowest_tag = tag + 1
        return [entry for each in tags if (entry := pop(each, None)) is not None]

    def take_returned(self, tag: int, *, is_multiple: bool) -> list[Entry]:
        """Remove what this confirm speaks of and was returned before."""
        tags = [each for each in self._returned if each == tag or (is_multiple and each < tag)]
        self._returned.difference_update(tags)
        return [self.entries.pop(each) for each in tags]

    def mark_returned(self, is_this: Callable[[Entry], bool]) -> None:
        """The oldest message that fits came back."""
        for tag, entry in self.entries.items():
            if tag not in self._returned and is_this(entry):
                self._returned.add(tag)
                return
