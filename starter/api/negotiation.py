"""Which form of a statement a request asks for: by ``?format=``, or by its ``Accept`` header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from typing import Final

from fastapi import Request

from ledger.documents import DocumentFormat
from ledger.errors import CasaflowError

MEDIA_TYPES: Final[dict[DocumentFormat, str]] = {
    DocumentFormat.JSON: "application/json",
    DocumentFormat.CSV: "text/csv",
    DocumentFormat.PDF: "application/pdf",
    DocumentFormat.CAMT_053: "application/xml",
}
"""In the order of preference among those that a request likes equally well."""

_ALSO: Final = {"text/xml": DocumentFormat.CAMT_053}


class NotAcceptableError(CasaflowError):
    """The request takes none of the forms that there are."""

    code = "not-acceptable"

    def __init__(self, accept: str) -> None:
        super().__init__(f"Accept must name one of {', '.join(MEDIA_TYPES.values())}; it is {accept[:200]!r}")


def format_asked(request: Request, given: DocumentFormat | None) -> DocumentFormat:
    """The form asked for; JSON where the request doesn't say.

    Args:
        request: with its ``Accept`` header.
        given: by ``?format=``, which wins.

    Raises:
        NotAcceptableError: the request takes none of the forms.
    """
    if given is not None:
        return given
    accept = ", ".join(request.headers.getlist("accept")).strip()
    if not accept:
        return DocumentFormat.JSON
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    liking = {known: _quality(media_type, ranges) for known, media_type in MEDIA_TYPES.items()}
    for media_type, known in _ALSO.items():
        liking[known] = max(liking[known], _quality(media_type, ranges))
    best = max(liking, key=lambda known: liking[known])  # of equals the first
    if liking[best] <= 0:
        raise NotAcceptableError(accept)
    return best


def _range(part: str) -> tuple[str, float]:
    """A media range and its weight, which is 1 unless given."""
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media_range, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media_range, 0.0
    return media_range, 1.0


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """How much a media type is liked: what the most specific range that it is in says; 0: it is in none."""
    kind = media_type.partition("/")[0]
    for wanted in (media_type, f"{kind}/*", "*/*"):
        weights = [weight for media_range, weight in ranges if media_range == wanted]
        if weights:
            return max(weights)
    return 0.0
