"""The page of the command line, by Typer's own writer of documents."""

from __future__ import annotations

import re
from typing import Any, Final

import typer
from typer.cli import get_docs_for_click

from starter.cli.main import app
from tests.contract.reference.markdown import MADE

_INTRODUCTION: Final = """\
On a checkout, `./run COMMAND` is `casaflow COMMAND` in its environment, but for `./run check`, which lints and tests: the proof is
`./run casaflow check`.

| exit code | meaning |
|---|---|
| 0 | done; where something was to be proven, proven |
| 1 | done, but something is not as it should be: a transaction was rejected, a balance differs, a part is unhealthy |
| 2 | bad input: an option, a file, a setting, an id that doesn't exist, a conflict with what is recorded |
| 3 | a server is not available |
| 130 | interrupted by Ctrl-C |

A command says below where it means something else by one. With `--json` standard output holds JSON and nothing else; what is told meanwhile
goes to standard error."""
_NOISE: Final = re.compile(r"^\* `--(?:help|install-completion|show-completion)`:.*\n", re.MULTILINE)


def text() -> str:
    """The page."""
    command = typer.main.get_command(app)
    _in_whole_sentences(command)
    made = get_docs_for_click(obj=command, ctx=typer.Context(command), name="casaflow", title="The command line")
    made = _NOISE.sub("", made).replace("**Options**:\n\n\n", "").replace("**Options**:\n\n**", "**").replace("```console", "```text")
    title, _, rest = made.partition("\n")
    return f"{MADE}\n\n{title}\n\n{_INTRODUCTION}\n{rest.rstrip()}\n"


def variables() -> dict[str, str]:
    """The environment variables that options read, with what they mean."""
    return dict(sorted(_variables(typer.main.get_command(app))))


def _in_whole_sentences(command: Any) -> None:
    """Lists of commands show the first sentence of each, where they would cut it off."""
    for each in getattr(command, "commands", {}).values():
        each.short_help = " ".join(str(each.help or each.short_help or "").partition("\n\n")[0].split())
        _in_whole_sentences(each)


def _variables(command: Any) -> set[tuple[str, str]]:
    found = {(option.envvar, option.help) for option in command.params if isinstance(getattr(option, "envvar", None), str)}
    return found.union(*(_variables(each) for each in getattr(command, "commands", {}).values()))
