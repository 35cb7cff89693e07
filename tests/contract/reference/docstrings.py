"""The texts that stand below the members of a class."""

from __future__ import annotations

import ast
import inspect
import textwrap

from tests.contract.reference.markdown import from_docstring


def member_texts(kind: type) -> dict[str, str]:
    """What the class says of each of its members, in Markdown.

    Raises:
        ValueError: it says nothing of one.
    """
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    if not isinstance(body, ast.ClassDef):
        raise TypeError(kind)
    texts: dict[str, str] = {}
    silent = []
    for member, behind in zip(body.body, [*body.body[1:], None], strict=True):
        name = _name(member)
        if name is None or name == "model_config":
            continue
        if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
            texts[name] = from_docstring(str(behind.value.value))
        else:
            silent.append(name)
    if silent:
        message = f"say below {', '.join(silent)} of {kind.__name__} what it means"
        raise ValueError(message)
    return texts


def _name(member: ast.stmt) -> str | None:
    if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
        return member.target.id
    if isinstance(member, ast.Assign) and isinstance(member.targets[0], ast.Name):
        return member.targets[0].id
    return None
