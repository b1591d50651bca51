"""Our matching against hftbacktest, where an interpreter that has it is named; run by make bench.

``METAENSEMBLE_ORACLE_PYTHON`` names it: hftbacktest pins numpy below what this project needs and
cannot live in the same environment.
"""

from __future__ import annotations

import os

import pytest

from tests.benchmarks import compare_hftbacktest

ORACLE_PYTHON = os.environ.get("METAENSEMBLE_ORACLE_PYTHON", "")


@pytest.mark.bench
@pytest.mark.skipif(not ORACLE_PYTHON, reason="METAENSEMBLE_ORACLE_PYTHON names no interpreter")
@pytest.mark.skipif(not compare_hftbacktest.CAPTURE.is_file(), reason="needs the recording")
def test_matching_agrees_with_hftbacktest(capsys: pytest.CaptureFixture[str]) -> None:
    """At least 95 in 100 filled orders agree under both queue models, the others are explained."""
    status = compare_hftbacktest.main(["--oracle-python", ORACLE_PYTHON, "--orders", "1000"])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert printed.count("of the filled orders agree") == 4
    assert "NOT EXPLAINED" not in printed
