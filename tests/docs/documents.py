"""What stands in the project's documents: fenced blocks with what their authors say of them, inline code, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.contract.reference.markdown import anchor

ROOT: Final = Path(__file__).parents[2]
_COMMENT = re.compile(r"<!--\s*([a-z ]+?)\s*:\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, and the comments `<!-- name: text -->` that stand right before it, by name."""

    language: str
    text: str
    line: int
    """The line of its opening fence, from 1."""
    said: dict[str, str] = field(default_factory=dict)
    output: Block | None = None
    """The block of the language ``text`` that comes next, with nothing in between: what this one prints."""


@dataclass(frozen=True)
class Document:
    """A Markdown file of the project."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def _tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    @cached_property
    def settings(self) -> dict[str, str]:
        """The comments above everything else, which are about the whole document."""
        found: dict[str, str] = {}
        for token in self._tokens:
            if token.type != "html_block":
                break
            found |= dict(_COMMENT.findall(token.content))
        return found

    @cached_property
    def blocks(self) -> list[Block]:
        return list(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        said: dict[str, str] = {}
        for number, token in enumerate(self._tokens):
            if token.type == "html_block":
                said |= dict(_COMMENT.findall(token.content))
            elif token.type == "fence":
                following = self._tokens[number + 1] if number + 1 < len(self._tokens) else None
                output = _block(following) if following is not None and following.type == "fence" and following.info == "text" else None
                yield _block(token, said, output)
                said = {}
            else:
                said = {}

    @cached_property
    def inline_code(self) -> list[tuple[int, str]]:
        """Line and text of each `code` within prose, headings and tables; line breaks in it are blanks."""
        return [
            (_line(token), child.content)
            for token in self._tokens
            if token.type == "inline"
            for child in token.children or []
            if child.type == "code_inline"
        ]

    @cached_property
    def links(self) -> list[tuple[int, str]]:
        """Line and target of each link and picture."""
        found = []
        for token in self._tokens:
            for child in (token.children or []) if token.type == "inline" else []:
                target = child.attrGet("href") if child.type == "link_open" else child.attrGet("src") if child.type == "image" else None
                if target is not None:
                    found.append((_line(token), str(target)))
        return found

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may name behind `#`, by the rule by which GitHub derives it from headings."""
        found: set[str] = set()
        for opening, heading in zip(self._tokens, self._tokens[1:], strict=False):
            if opening.type == "heading_open":
                plain = "".join(child.content for child in heading.children or [])
                name = anchor(plain)
                repeated = sum(1 for other in found if re.fullmatch(rf"{re.escape(name)}(-\d+)?", other))
                found.add(f"{name}-{repeated}" if repeated else name)
        return found


def documents() -> list[Document]:
    """Those that users and contributors read, in the order of their names."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "clients/python/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [Document(path) for path in paths]


def _block(token: Token, said: dict[str, str] | None = None, output: Block | None = None) -> Block:
    return Block(language=token.info.strip(), text=token.content, line=_line(token), said=said or {}, output=output)


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 0
