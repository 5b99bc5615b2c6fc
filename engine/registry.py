"""A typed table of named objects: a duplicate name is a bug and raises, an unknown one lists the choices."""

import difflib
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from engine.errors import UserError

T = TypeVar("T")


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint such as " (did you mean 'epochs'?)", or "" when nothing in `choices` is close to `name`."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""


class Registry(Generic[T]):
    """Objects that are chosen by name, for example the learning-rate schedules; `kind` appears in messages."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers an object as `name`. Raises ValueError when the name is taken."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """The object registered as `name`. Raises UserError naming the choices when there is none."""
        if name not in self._entries:
            choices = ", ".join(sorted(self._entries))
            raise UserError(f"unknown {self.kind} {name!r}{nearest(name, self._entries)}; choices: {choices}")
        return self._entries[name]

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._entries)
