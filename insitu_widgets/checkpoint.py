"""A training's state on disk, so that it goes on where it was killed."""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stateful(Protocol):
    """What a model, an optimiser and a schedule have in common."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102

    def load_state_dict(self, state_dict: Any) -> Any: ...  # noqa: D102


@dataclass
class Checkpoint:
    """One file, replaced as a whole after an epoch or a step, never half-written.

    Attributes
    ----------
    path
        The file; its folder is made if need be.
    settings
        What must be the same for the training to go on: plan, seed, images.
    seconds
        Time spent on the training so far, all its runs together, and on what it follows.
    """

    path: Path
    settings: str
    seconds: float = 0.0
    _next: Checkpoint | None = None

    def following(self) -> Checkpoint:
        """The checkpoint of what is trained next, from where this training ends; its time goes on.

        It is removed together with this one.
        """
        path = self.path.with_stem(f"{self.path.stem}-then")
        self._next = Checkpoint(path, self.settings, self.seconds)
        return self._next

    def save(
        self, epoch: int, parts: Mapping[str, Stateful], random: torch.Generator, seconds: float
    ) -> None:
        """Write the state after so many epochs (or steps); ``seconds`` have passed in all."""
        self.seconds = seconds
        state = {
            "settings": self.settings,
            "epoch": epoch,
            "seconds": seconds,
            "parts": {name: part.state_dict() for name, part in parts.items()},
            "random": random.get_state(),  # the only dice of a training: no root throws any
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".part")
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)

    def restore(self, parts: Mapping[str, Stateful], random: torch.Generator) -> int:
        """Bring everything back to the last saved state; the number of epochs (or steps) done.

        Raises
        ------
        ValueError
            If the file is damaged, or of a training with other settings.
        """
        if not self.path.exists():
            return 0
        state = self._read()
        if state["settings"] != self.settings:
            msg = (
                f"{self.path} is of a training with other settings ({state['settings']}, now "
                f"{self.settings}). Delete it, or name another folder with --checkpoints."
            )
            raise ValueError(msg)
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        random.set_state(state["random"])
        self.seconds = state["seconds"]
        return int(state["epoch"])

    def _read(self) -> dict[str, Any]:
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
            raise self._damaged(type(error).__name__) from error
        held = state.keys() if isinstance(state, dict) else set()
        missing = {"settings", "epoch", "seconds", "parts", "random"} - held
        if missing:
            why = f"it lacks {', '.join(sorted(missing))}"
            raise self._damaged(why)
        return state

    def _damaged(self, why: str) -> ValueError:
        return ValueError(
            f"{self.path} must be a training's checkpoint; it is damaged ({why}). Delete it and "
            f"start again, or name another folder with --checkpoints."
        )

    def log(self, line: str) -> None:
        """Add a line, with the time, to the log beside the file."""
        path = self.path.with_suffix(".log")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def remove(self) -> None:
        """Forget the training: its results are written."""
        self.path.unlink(missing_ok=True)
        if self._next:
            self._next.remove()
