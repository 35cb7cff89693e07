"""Every command that a document tells its reader to type does what the document says, on the real stack.

Blocks of the languages ``sh`` and ``python`` are run, in order, one session for each document, and a block of the language ``text`` right
below one is what it prints (:mod:`tests.docs.printed` says how that is compared). A comment before a block says what else there is to it:

- ``<!-- not run: WHY -->`` and ``<!-- run by: tests/… -->``: it isn't run here;
- ``<!-- exit code: 1 -->``: how it ends, where that isn't 0;
- ``<!-- before: COMMAND -->``: what a reader who comes to it has done otherwise;
- ``<!-- until: WHAT -->``: it is run again until it prints what is shown, since that takes a moment.

``<!-- tenant: main -->`` at the top of a document has its session use the stack's own key; otherwise it has a tenant of its own.
``CASAFLOW_RECORD_DOCS=1 ./run test tests/docs`` writes what was printed into the documents, where it isn't what they show.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from infra.settings import DEFAULT_TENANT
from tests.docs.documents import ROOT, Block, Document, documents
from tests.docs.sessions import NOT_RUN, REASONS, RUN_BY, SAYINGS, DiffersError, Session
from tests.stack_fixtures import RunningStack

LANGUAGES = ("sh", "python")
OTHERS = ("text", "json", "mermaid", "csv", "xml", "http", "sql", "ini", "toml", "yaml", "")


def is_run(block: Block) -> bool:
    return block.language in LANGUAGES and not any(reason in block.said for reason in REASONS)


QUICK = ("README.md", "clients/python/README.md", "docs/quick-start.md", "docs/tutorial.md")
"""What a newcomer types first is run with the fast tests, all else with the slow ones."""


def _marked(document: Document) -> ParameterSet:
    return pytest.param(document, id=document.name, marks=[] if document.name in QUICK else [pytest.mark.slow])


RUN = [document for document in documents() if any(is_run(block) for block in document.blocks)]


@pytest.mark.parametrize("document", [_marked(document) for document in RUN])
def test_what_a_document_has_its_reader_type_does_what_it_says(document: Document, stack: RunningStack, tmp_path: Path) -> None:
    assert stack.home is not None, "documents are run by the command line, which needs the stack's home"
    session = Session.begun(tmp_path / "casaflow", stack.home.absolute(), _access(document, stack))
    for block in [block for block in document.blocks if is_run(block)]:
        try:
            session.run(document, block)
        except DiffersError as error:
            if not os.environ.get("CASAFLOW_RECORD_DOCS") or not _recorded(document, block, error.printed):
                raise


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_a_block_is_run_or_says_why_not(document: Document) -> None:
    for block in document.blocks:
        where = f"{document.name}:{block.line}"
        assert block.language in (*LANGUAGES, *OTHERS), f"{where}: nobody runs {block.language!r}; call commands `sh`"
        unknown = set(block.said) - set(SAYINGS)
        assert not unknown, f"{where}: there is no comment {unknown.pop()!r} about a block; those are {', '.join(SAYINGS)}"
        if RUN_BY in block.said:
            assert (ROOT / block.said[RUN_BY]).is_file(), f"{where}: there is no {block.said[RUN_BY]}"
        assert block.said.get(NOT_RUN, "why") != "", f"{where}: it doesn't say why it isn't run"


def _access(document: Document, stack: RunningStack) -> dict[str, str]:
    """The API and a key, of a tenant that no other document has, so that account ids are free."""
    if document.settings.get("tenant") == DEFAULT_TENANT:
        return {"CASAFLOW_API_URL": stack.api, "CASAFLOW_API_KEY": stack.api_key}
    tenant = f"docs-{uuid.uuid4().hex[:8]}"
    made = stack.casaflow("key", "create", "reader", "--tenant", tenant, "--json")
    assert made.returncode == 0, made.stderr
    return {"CASAFLOW_API_URL": stack.api, "CASAFLOW_API_KEY": json.loads(made.stdout)["key"]}


def _recorded(document: Document, block: Block, printed: str) -> bool:
    """Whether the document now shows what was printed."""
    if block.output is None:
        return False
    text = document.path.read_text(encoding="utf-8")
    shown = f"```text\n{block.output.text}```"
    before, found, after = text.partition(f"{block.text}```\n{shown}")
    if not found:
        return False
    document.path.write_text(f"{before}{block.text}```\n```text\n{printed.strip(chr(10))}\n```{after}", encoding="utf-8")
    return True
