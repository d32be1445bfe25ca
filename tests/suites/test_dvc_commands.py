"""Which line of DVC's output is the reason of its failure."""

import pytest

from dreamfusion_kit.suites.dvc_commands import reason_in

STAGE = "Running stage 'kit':\n> exec dreamfusion-kit sync\n"
FAILED = (
    "ERROR: failed to reproduce 'kit': failed to run: exec dreamfusion-kit sync, exited with 2\n"
)


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("", "it printed nothing"),
        ("one\ntwo\n", "two"),
        ("ERROR: Unable to acquire lock\n\nHaving any troubles? Ask us\n",
         "ERROR: Unable to acquire lock"),
        (f"{STAGE}scenes/one.yaml:1: seed: missing key\n{FAILED}",
         "scenes/one.yaml:1: seed: missing key"),
        (f"{STAGE}{FAILED}", FAILED.strip()),
        ("'./dvc.yaml' is invalid (possible merge conflicts).\n\nWhile scanning a simple key, in "
         "line 60, column 1\n  60 <<<<<<< HEAD\n",
         "'./dvc.yaml' is invalid (possible merge conflicts)."),
        ("'dvc.yaml' validation failed.\n\nextra keys not allowed\n  1 a: 1\n",
         "'dvc.yaml' validation failed."),
    ],
)  # fmt: skip
def test_the_reason_is_what_the_stage_said_or_else_dvc(printed: str, reason: str) -> None:
    assert reason_in(printed) == reason
