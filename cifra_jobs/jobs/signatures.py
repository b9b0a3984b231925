"""`Signature`: a call that is not sent yet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from cifra_jobs.errors import NotYetBuilt
from cifra_jobs.jobs.options import CALL_KEYWORDS
from cifra_jobs.jobs.port import backend

if TYPE_CHECKING:
    from cifra_jobs.jobs.handle import TaskHandle

__all__ = ["Signature", "signature"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Sendable(Protocol[R_co]):
    """What a signature needs of the task that it calls."""

    actor_name: str

    def check_call_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Refuse what a call cannot set."""
        ...

    def compose(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> tuple[Any, int]:
        """The message of a call and its delay in ms."""
        ...

    def apply_async(
        self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> TaskHandle[Any]:
        """Send a call."""
        ...


@dataclass(slots=True, frozen=True)
class Signature(Generic[R]):
    """A task's name, arguments and options, to be sent later or handed on as data.

    Attributes:
        task_name: the task.
        args: positional arguments; those of the call come before them.
        kwargs: keyword arguments; those of the call override them.
        options: options of the call, as `Task.apply_async` takes them.
        immutable: ignore whatever arguments come with the call (``si``).
    """

    task_name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    immutable: bool = False

    @property
    def task(self) -> Sendable[R]:
        """The task itself.

        Raises:
            dramatiq.ActorNotFound: no task of that name is imported in this process.
        """
        found: Any = backend().broker.get_actor(self.task_name)
        return found  # type: ignore[no-any-return]

    def set(self, *, immutable: bool | None = None, **options: Any) -> Signature[R]:
        """A copy with more options; a wrong option is refused here, before anything is sent."""
        canonical = self.task.check_call_options(options)
        keywords = {name: options[name] for name in options.keys() & CALL_KEYWORDS}
        return replace(
            self,
            options={**self.options, **canonical, **keywords},
            immutable=self.immutable if immutable is None else immutable,
        )

    def clone(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """A copy with these arguments put before, and over, its own."""
        if self.immutable:
            return replace(self)
        return replace(self, args=(*args, *self.args), kwargs={**self.kwargs, **kwargs})

    def link(self, callback: Signature[Any]) -> Signature[R]:
        """A copy that sends ``callback`` with its result after success."""
        return self._linked("link", callback)

    def link_error(self, callback: Signature[Any]) -> Signature[R]:
        """A copy that sends ``callback`` (task_id, exception, traceback) after a final failure."""
        return self._linked("link_error", callback)

    def delay(self, *args: Any, **kwargs: Any) -> TaskHandle[R]:
        """Send it; see `Task.delay`."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> TaskHandle[R]:
        """Send it with more arguments and options; see `Task.apply_async`."""
        call = self.clone(*args, **(kwargs or {}))
        if options:
            call = call.set(**options)
        return call.task.apply_async(call.args, call.kwargs, **call.options)

    async def apply(self, *args: Any, **kwargs: Any) -> R:
        """Send it, wait, return the result."""
        handle = await self.delay(*args, **kwargs)
        return await handle.get()

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for a message."""
        data: dict[str, Any] = {"task": self.task_name, "args": list(self.args)}
        data["kwargs"] = self.kwargs
        if self.options:
            data["options"] = {
                name: _linked_dicts(value) if name in ("link", "link_error") else value
                for name, value in self.options.items()
            }
        if self.immutable:
            data["immutable"] = True
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Signature[Any]:
        """The inverse of `to_dict`."""
        return cls(
            data["task"],
            tuple(data["args"]),
            data["kwargs"],
            data.get("options", {}),
            data.get("immutable", False),
        )

    def _linked(self, option: str, callback: Signature[Any]) -> Signature[R]:
        present = self.options.get(option, ())
        several = list(present) if isinstance(present, list | tuple) else [present]
        return replace(self, options={**self.options, option: [*several, callback]})

    def __or__(self, other: object) -> Signature[Any]:
        raise NotYetBuilt("composing signatures with | needs chains, which this release lacks")

    def __repr__(self) -> str:
        shown = [repr(arg) for arg in self.args]
        shown += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        text = f"{self.task_name}.{'si' if self.immutable else 's'}({', '.join(shown)})"
        return text + (
            f".set({', '.join(f'{k}={v!r}' for k, v in self.options.items())})"
            if self.options
            else ""
        )


def _linked_dicts(links: Any) -> list[Any]:
    several = links if isinstance(links, list | tuple) else [links]
    return [link.to_dict() if isinstance(link, Signature) else link for link in several]


def signature(
    task: str | Sendable[R],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    immutable: bool = False,
    **options: Any,
) -> Signature[R]:
    """A call not yet sent, of a task or its name.

    Raises:
        OptionError: an unknown or bad option, where the task is known in this process.
    """
    name = task if isinstance(task, str) else task.actor_name
    call: Signature[R] = Signature(name, tuple(args), dict(kwargs or {}), {}, immutable)
    return call.set(**options) if options else call
