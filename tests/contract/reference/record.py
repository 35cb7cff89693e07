"""The pages of `docs/reference` that are made from the code."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.contract.reference import api, command_line, problems, refusals, settings

FOLDER: Final = Path(__file__).parents[3] / "docs" / "reference"
BY_HAND: Final = frozenset({"README.md"})
COMMAND: Final = "python -m tests.contract.reference"


def documents() -> dict[str, str]:
    """The pages, by their paths in the folder."""
    return {
        **{f"api/{name}": text for name, text in api.pages().items()},
        "cli.md": command_line.text(),
        "problems.md": problems.text(),
        "refusals.md": refusals.text(),
        "settings.md": settings.text(),
    }


def present() -> dict[str, str]:
    """The pages that lie in the folder."""
    files = {str(file.relative_to(FOLDER)): file for file in FOLDER.rglob("*.md")}
    return {path: file.read_text(encoding="utf-8") for path, file in files.items() if path not in BY_HAND}


def write() -> None:
    """Make the folder's pages what they should be."""
    made = documents()
    for path in present().keys() - made.keys():
        (FOLDER / path).unlink()
    for path, text in made.items():
        file = FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
