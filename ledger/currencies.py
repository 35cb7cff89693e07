"""Currencies and the number of decimals each one has.

Source: ISO 4217:2015 list one, as published on 2026-01-01. Codes without a minor unit (precious metals, bond units, test codes)
are left out: no current or savings account is kept in them.
"""

from __future__ import annotations

from typing import Final

from ledger.errors import UnknownCurrencyError

_BY_EXPONENT: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU "
        "CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES "
        "KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR "
        "NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP "
        "TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

MINOR_UNIT_EXPONENTS: Final[dict[str, int]] = {code: exponent for exponent, codes in _BY_EXPONENT.items() for code in codes.split()}
"""Currency code to the number of decimals of its minor unit: JPY 0, EUR 2, BHD 3."""


def exponent_of(currency: str, *, field: str = "currency") -> int:
    """The number of decimals of `currency`'s minor unit.

    Args:
        currency: ISO 4217 alphabetic code, upper case.
        field: the request field that carried the code, for the error.

    Raises:
        UnknownCurrencyError: the code is not in ISO 4217, or has no minor unit.
    """
    try:
        return MINOR_UNIT_EXPONENTS[currency]
    except KeyError:
        raise UnknownCurrencyError(field=field, value=currency) from None
