"""How much memory a payment file takes doesn't grow with its payments, but for the identifications that must not repeat."""

from __future__ import annotations

import subprocess
import sys

import pytest

_READ = """
import io, resource, sys
from infra.iso20022 import pain001
from tests.unit.iso20022.payment_files import file_of, payment

number = int(sys.argv[1])
head, _, foot = file_of(payment(), total="12.5").partition(b"<CdtTrfTxInf>")
head = head.replace(b"<CtrlSum>12.5</CtrlSum>", b"").replace(b"<NbOfTxs>01</NbOfTxs>", b"")
head = head.replace(b"<NbOfTxs>1<", b"<NbOfTxs>%d<" % number)
foot = b"</PmtInf>" + foot.partition(b"</PmtInf>")[2]

class File(io.RawIOBase):
    def __init__(self):
        self.parts = self.written()
    def written(self):
        yield head
        for one in range(number):
            yield payment(one).encode()
        yield foot
    def read(self, size=-1):
        return next(self.parts, b"")

problems = []
_, lines = pain001.read(File(), problem=problems.append)
assert sum(1 for _ in lines) == number and not problems, problems[:3]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _kilobytes(payments: int) -> int:
    ended = subprocess.run([sys.executable, "-c", _READ, str(payments)], capture_output=True, text=True, check=True, timeout=600)
    return int(ended.stdout)


@pytest.mark.slow
def test_a_hundred_thousand_payments_take_little_more_memory_than_a_thousand() -> None:
    few, many = _kilobytes(1_000), _kilobytes(100_000)
    assert many - few < 50_000  # as a tree they would take 300 MB
