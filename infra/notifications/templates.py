"""Puts messages into words: Jinja2 templates for e-mails, JSON for webhooks.

What somebody wrote (remittance information, references) goes into templates as a value, in one printable line; it is never a template.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jinja2 import ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateError, select_autoescape
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic_core import to_json

from ledger.notifications import Channel, Language, MessageContent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.events import Amount
    from ledger.notifications import Message

_SHIPPED: Final = Path(__file__).with_name("templates")
_LONGEST_SUBJECT: Final = 150
_NO_BREAK_SPACE: Final = "\N{NO-BREAK SPACE}"
_SEPARATORS: Final = {Language.ENGLISH: (",", "."), Language.CZECH: (_NO_BREAK_SPACE, ",")}
"""Between thousands, and before the decimals."""
WEBHOOK_TYPES: Final = "notification."
"""What the types of webhooks begin with; a kind follows."""


class Words(NamedTuple):
    """A message as it goes out."""

    subject: str
    """One line; of a webhook its type."""
    body: str
    """Of an e-mail the text, of a webhook the payload."""
    body_html: str | None


class MessageTemplates:
    """The texts of e-mails, by language and kind: ``<language>/<kind>.txt``, whose first line is the subject, and ``<kind>.html``."""

    def __init__(self, folder: Path | None = None) -> None:
        """Prepare the templates.

        Args:
            folder: of the bank's own; those that it lacks are the shipped ones.
        """
        folders = [FileSystemLoader(path) for path in (folder, _SHIPPED) if path is not None]
        self._environments = {language: _environment(ChoiceLoader(folders), language) for language in Language}

    def words(self, message: Message) -> Words:
        """The message in words.

        Raises:
            ValueError: a template is broken.
        """
        if message.channel is Channel.WEBHOOK:
            return Words(subject=f"{WEBHOOK_TYPES}{message.content.kind}", body=_payload(message.content), body_html=None)
        environment = self._environments[message.language]
        name = f"{message.language}/{message.content.kind}"
        values = _printable(message.content.model_dump() | {"entries": [dict(entry) for entry in message.content.entries]})
        try:
            written = environment.get_template(f"{name}.txt").render(values)
            body_html = environment.get_template(f"{name}.html").render(values)
        except TemplateError as error:
            problem = f"the template {name} is broken: {error}"
            raise ValueError(problem) from error
        subject, _, text = written.lstrip().partition("\n")
        return Words(subject=one_line(subject)[:_LONGEST_SUBJECT], body=text.strip() + "\n", body_html=body_html)


def _environment(loader: ChoiceLoader, language: Language) -> ImmutableSandboxedEnvironment:
    # The bank's own templates are not code either: the sandbox keeps them from reaching it.
    environment = ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=select_autoescape(enabled_extensions=("html",), default_for_string=True, default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )

    def money(amount: Amount) -> str:
        return money_text(amount.value, amount.currency, language)

    environment.filters["money"] = money
    return environment


def money_text(value: str, currency: str, language: Language) -> str:
    """An amount for people: ``1,234.50 EUR`` in English, ``1 234,50 EUR`` in Czech, with the decimals that it came with.

    Args:
        value: decimal string in major units, with exactly the currency's decimals, as events carry it.
        currency: ISO 4217 code.
        language: of the text.
    """
    thousands, point = _SEPARATORS[language]
    whole, _, decimals = value.partition(".")
    grouped = f"{int(whole):,}".replace(",", thousands)
    return f"{grouped}{point}{decimals}{_NO_BREAK_SPACE}{currency}" if decimals else f"{grouped}{_NO_BREAK_SPACE}{currency}"


def one_line(text: str) -> str:
    """`text` in one line of printable characters, so that it can end neither a header nor a line, nor turn the direction of writing."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _printable(values: Mapping[str, Any]) -> dict[str, Any]:
    def clean(value: object) -> object:
        if isinstance(value, str):
            return one_line(value)
        return tuple(map(clean, value)) if isinstance(value, tuple) else value

    return {name: clean(value) for name, value in values.items()}


def _payload(content: MessageContent) -> str:
    """The body of a webhook: its type, the instant of what it tells of, and the content (Standard Webhooks 1.0, "Payload structure")."""
    kind = f"{WEBHOOK_TYPES}{content.kind}"
    return to_json({"type": kind, "timestamp": content.finished_at, "data": content.model_dump(mode="json")}).decode()
