"""Small pain.001 files."""

from __future__ import annotations

from infra.iso20022.pain001 import MESSAGE

IBAN, OTHER_IBAN = "DE02120300000000202051", "DE89370400440532013000"
BLOCK = f"{MESSAGE}/PmtInf"
PAYMENT = f"{BLOCK}[1]/CdtTrfTxInf[1]"


def payment(
    number: int = 1,
    *,
    end_to_end_id: str | None = None,
    agent: str = "",
    account: str = f"<IBAN>{OTHER_IBAN}</IBAN>",
    remittance: str = "<Ustrd>Nájem 11/26 &amp; služby</Ustrd>",
) -> str:
    """A payment of 12.50 EUR."""
    bank = f"<CdtrAgt><FinInstnId>{agent}</FinInstnId></CdtrAgt>" if agent else ""
    return (
        f"<CdtTrfTxInf><PmtId><InstrId>I-{number}</InstrId><EndToEndId>{end_to_end_id or f'E-{number}'}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="EUR">12.50</InstdAmt></Amt>{bank}<Cdtr><Nm>Jan Novák</Nm></Cdtr>'
        f"<CdtrAcct><Id>{account}</Id></CdtrAcct><RmtInf>{remittance}</RmtInf></CdtTrfTxInf>\n"
    )


def file_of(*payments: str, version: str = "pain.001.001.09", blocks: int = 1, total: str | None = None) -> bytes:
    """A file with the payments in each of its blocks; `total` is what they sum to in a block, 12.50 for each unless given."""
    number = len(payments)
    is_first = version == "pain.001.001.03"
    day = "<ReqdExctnDt>2026-02-01</ReqdExctnDt>" if is_first else "<ReqdExctnDt><Dt>2026-02-01</Dt></ReqdExctnDt>"
    bic = "BIC" if is_first else "BICFI"
    of_block = total or f"{number * 12.5}"
    of_all = total or f"{number * blocks * 12.5:.2f}"
    content = "".join(
        f"<PmtInf><PmtInfId>P-{block}</PmtInfId><PmtMtd>TRF</PmtMtd><NbOfTxs>0{number}</NbOfTxs><CtrlSum>{of_block}</CtrlSum>{day}"
        f"<Dbtr><Nm>Acme</Nm></Dbtr><DbtrAcct><Id><IBAN>{IBAN}</IBAN></Id></DbtrAcct>"
        f"<DbtrAgt><FinInstnId><{bic}>CASADEFFXXX</{bic}></FinInstnId></DbtrAgt>{''.join(payments)}</PmtInf>"
        for block in range(1, blocks + 1)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:{version}"><CstmrCdtTrfInitn><GrpHdr>'
        f"<MsgId>MSG-1</MsgId><CreDtTm>2026-01-31T10:00:00</CreDtTm><NbOfTxs>{number * blocks}</NbOfTxs><CtrlSum>{of_all}</CtrlSum>"
        f"<InitgPty><Nm>Acme</Nm></InitgPty></GrpHdr>{content}</CstmrCdtTrfInitn></Document>"
    ).encode()
