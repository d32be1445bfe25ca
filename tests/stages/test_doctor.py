"""What doctor says about a machine that lacks something."""

import pytest

from dreamfusion_kit.stages import doctor


def test_missing_libraries_come_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> str | None:
        return None if name in ("GL", "usb-1.0") else f"lib{name}.so"

    monkeypatch.setattr(doctor.ctypes.util, "find_library", find)
    assert doctor.missing_libraries() == ["libusb-1.0-0", "libgl1"]


def test_description_has_one_fact_a_line() -> None:
    from pathlib import Path

    lines = doctor.describe(Path(__file__).parents[2]).splitlines()
    assert lines[0].startswith("python           3.")
    starts = {len(line) - len(line[15:].lstrip()) for line in lines}
    assert starts == {17}, "names and facts are two columns"
    assert any(line.startswith("torch ") for line in lines)
    assert any(line.startswith("libraries ") for line in lines)
