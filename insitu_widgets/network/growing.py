"""Text files that grow line by line: read without a change, replaced as a whole. Needs no torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> tuple[str, str]:
    """A file's whole lines, and what follows them: a last line that was cut. Nothing is written.

    A file that is not there yet has neither.

    Raises
    ------
    ValueError
        If the path is a folder (or a device), or in one that is not there, or the file is no text.
    """
    if not path.parent.is_dir():
        msg = (
            f"path must be a file in a folder that is there; got {path}, and {path.parent} is no "
            f"folder. Make that folder first, or name a file elsewhere."
        )
        raise ValueError(msg)
    if path.is_dir():
        msg = f"path must be a file; got the folder {path}. Name a file in it."
        raise ValueError(msg)
    if not path.exists():
        return "", ""
    if not path.is_file():
        msg = f"path must be a file; got {path}, which is a device. Name a file in a folder."
        raise ValueError(msg)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"path must be a text file; {path} is none ({error}). Name another file."
        raise ValueError(msg) from error
    end = text.rfind("\n") + 1
    return text[:end], text[end:]


def replace(path: Path, text: str) -> None:
    """Give a file this text: whoever reads it meets all of the old one or all of the new one."""
    path = path.resolve()  # a link goes on pointing to it
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
