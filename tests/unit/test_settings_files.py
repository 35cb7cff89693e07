"""Settings that come from files, as orchestrators mount secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.settings import Settings
from ledger.errors import InvalidInputError


def test_a_secret_may_stand_in_a_file_that_is_named_as_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "CASAFLOW_POSTGRES_URL").write_text("postgresql://teller:secret@db:5432/casaflow\n")
    (tmp_path / "CASAFLOW_APPROVAL_THRESHOLDS").write_text('{"EUR": "100.00"}')
    monkeypatch.setenv("CASAFLOW_SECRETS_DIR", str(tmp_path))
    settings = Settings()
    assert settings.postgres_url is not None
    assert settings.postgres_url.get_secret_value() == "postgresql://teller:secret@db:5432/casaflow"
    assert settings.approval_thresholds == {"EUR": "100.00"}
    assert settings.kafka_bootstrap_servers is None


def test_the_environment_goes_before_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "CASAFLOW_TEMPORAL_ADDRESS").write_text("file:7233")
    monkeypatch.setenv("CASAFLOW_SECRETS_DIR", str(tmp_path))
    assert Settings().temporal_address == "file:7233"
    monkeypatch.setenv("CASAFLOW_TEMPORAL_ADDRESS", "variable:7233")
    assert Settings().temporal_address == "variable:7233"


def test_a_folder_of_secrets_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASAFLOW_SECRETS_DIR", str(tmp_path / "missing"))
    with pytest.raises(InvalidInputError, match="CASAFLOW_SECRETS_DIR"):
        Settings()
