"""IBANs and BICs."""

from __future__ import annotations

import pytest

from ledger.ibans import is_bic, is_iban


@pytest.mark.parametrize(
    "text",
    ["DE89370400440532013000", "GB82WEST12345698765432", "CZ6508000000192000145399", "NO9386011117947", "MT84MALT011000012345MTLCAST001S"],
)
def test_an_iban_of_the_registry_is_one_and_none_with_another_digit_is(text: str) -> None:
    assert is_iban(text)
    assert not is_iban(text[:-1] + ("1" if text[-1] != "1" else "2"))
    assert not is_iban(text.lower())
    assert not is_iban(f"{text[:4]} {text[4:]}")


@pytest.mark.parametrize(
    "text", ["", "704", "DE8937", "DE00370400440532013000", "DE89370400440532013000\n", "\uff24\uff2589370400440532013000"]
)
def test_what_is_no_iban_is_none(text: str) -> None:
    assert not is_iban(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("COBADEFF", True), ("COBADEFFXXX", True), ("COBADEFF1", False), ("cobadeff", False), ("", False)]
)
def test_a_bic_has_eight_or_eleven_characters(text: str, expected: bool) -> None:
    assert is_bic(text) is expected
