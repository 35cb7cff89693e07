"""Pictures that commands draw: by matplotlib, which the wheel does not bring, as files or in pages that need nothing else."""

from __future__ import annotations

import io
from typing import Any

from ledger.errors import InvalidInputError


def load_matplotlib(field: str) -> Any:  # noqa: ANN401  a module
    """The module that draws without a screen.

    Raises:
        InvalidInputError: it isn't installed; `field` is the option that asked for a picture.
    """
    try:
        from matplotlib import figure  # noqa: PLC0415  only a picture needs it
    except ImportError as error:
        rule = "needs matplotlib, which is not installed here"
        raise InvalidInputError(field=field, value="matplotlib", rule=rule) from error
    return figure


def as_svg(figure: Any) -> str:  # noqa: ANN401  matplotlib's
    """The figure as an element of a page."""
    picture = io.StringIO()
    figure.savefig(picture, format="svg")
    drawing = picture.getvalue()
    return drawing[drawing.index("<svg") :]
