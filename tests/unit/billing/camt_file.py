"""Statements in CAMT.053, as banks write them."""

from __future__ import annotations

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001."
IBAN = "ES9121000418450200051332"


def detail(*inside: str, text: str = "", end_to_end: str = "", payer: str = "") -> str:
    """Return the details of one transaction."""
    parts = [f"<Refs><EndToEndId>{end_to_end}</EndToEndId></Refs>" if end_to_end else "", *inside]
    if payer:
        parts.append(f"<RltdPties><Dbtr><Nm>{payer}</Nm></Dbtr></RltdPties>")
    if text:
        parts.append(f"<RmtInf><Ustrd>{text}</Ustrd></RmtInf>")
    return f"<TxDtls>{''.join(parts)}</TxDtls>"


def entry(
    amount: str,
    *details: str,
    direction: str = "CRDT",
    status: str = "BOOK",
    reference: str = "",
    day: str = "2026-01-20",
    more: str = "",
) -> str:
    """Return an entry; `more` stands before its status."""
    servicer = f"<AcctSvcrRef>{reference}</AcctSvcrRef>" if reference else ""
    return (
        f'<Ntry><Amt Ccy="EUR">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd>{more}<Sts>{status}</Sts>'
        f"<BookgDt><Dt>{day}</Dt></BookgDt>{servicer}<NtryDtls>{''.join(details)}</NtryDtls></Ntry>\n"
    )


def statement(*entries: str, version: str = "02", name: str = "S1", before: str = "") -> bytes:
    """Return a file with one statement."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{before}\n<Document xmlns="{NAMESPACE}{version}"><BkToCstmrStmt>'
        f"<GrpHdr><MsgId>1</MsgId></GrpHdr><Stmt><Id>{name}</Id><Acct><Id><IBAN>{IBAN}</IBAN></Id></Acct>\n"
        f"{''.join(entries)}</Stmt></BkToCstmrStmt></Document>"
    ).encode()
