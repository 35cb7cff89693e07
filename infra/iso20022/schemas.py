"""The schemas of pain.001, in the form in which a file is checked while it is read: part by part.

They come with the wheel ``sepaxml``, as ISO 20022 publishes them. A part (group header, payment information block without its payments,
payment) is checked as soon as it has been read, by the schema's own type for it, and then forgotten; so no file is too large for that.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS: Final = ("pain.001.001.03", "pain.001.001.09", "pain.001.001.10", "pain.001.001.11")
"""Those that can be read."""
PARTS: Final = ("GrpHdr", "PmtInf", "CdtTrfTxInf")
"""What is checked by itself, and what is left of ``Document`` at the end."""

_XS: Final = "{http://www.w3.org/2001/XMLSchema}"
_NAMESPACE_IN_MESSAGE: Final = re.compile(r"\{urn:[^}]*\}")
_STEP: Final = re.compile(r"\*(?:\[(\d+)\])?")


class Breach(NamedTuple):
    """A rule of the schema that is broken."""

    path: str
    """Below the part that was checked, such as ``Amt/InstdAmt``; empty for the part itself."""
    value: str
    rule: str
    """In the words of libxml2."""


@cache
def parts_schema(message_name: str) -> etree.XMLSchema:
    """The schema of one version of pain.001, by which each of :data:`PARTS` can be checked alone.

    A payment information block is checked without its payments, and the document without its blocks, since those were checked before.

    Args:
        message_name: one of :data:`VERSIONS`.
    """
    schema = etree.fromstring(files("sepaxml").joinpath("schemas", f"{message_name}.xsd").read_bytes())
    for part in PARTS:
        (declared,) = schema.iterfind(f".//{_XS}element[@name='{part}']")
        etree.SubElement(schema, f"{_XS}element", {"name": part, "type": declared.get("type") or ""})
        if part != "GrpHdr":
            declared.set("minOccurs", "0")
    return etree.XMLSchema(schema)


def breaches(schema: etree.XMLSchema, part: etree._Element) -> Iterator[Breach]:
    """What of `part` breaks the schema: the first rule for each element that breaks one."""
    seen = set()
    log: Any = schema.error_log  # whose types don't say that it can be read
    for error in log:
        if error.path not in seen:
            seen.add(error.path)
            path, element = _named(part, error.path or "")
            rule = _NAMESPACE_IN_MESSAGE.sub("", error.message)
            yield Breach(path, (element.text or "").strip(), rule)


def _named(part: etree._Element, path: str) -> tuple[str, etree._Element]:
    """Turn ``/*/*[2]/*[1]``, as libxml2 writes the path of elements that have a namespace, into names."""
    names = []
    element = part
    for step in path.split("/")[2:]:
        found = _STEP.fullmatch(step)
        if found is None:  # no element
            break
        element = element[int(found.group(1) or 1) - 1]
        names.append(local_name(element))
    return "/".join(names), element


def local_name(element: etree._Element) -> str:
    """The element's name without its namespace."""
    return etree.QName(element).localname
