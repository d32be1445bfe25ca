"""One set of instructions: asked for before the libraries are loaded, recorded, and exact."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dreamfusion_kit import instructions
from dreamfusion_kit.errors import DreamFusionKitError

ROOT = Path(__file__).parents[1]

PROGRAM = """
import dreamfusion_kit, torch, numpy
from dreamfusion_kit import provenance
from dreamfusion_kit.stages import devices
x = torch.rand(100_001, generator=torch.Generator().manual_seed(0)) + 0.1
device = devices.pick("cpu")
exact = torch.from_numpy(numpy.sqrt(x.numpy()))
assert torch.equal(x.sqrt(), exact)
assert torch.equal(x.clone().sqrt_(), exact)
assert torch.equal(torch.sqrt(x, out=torch.empty_like(x)), exact)
assert torch.equal(x[::2].sqrt(), exact[::2]) and x[:0].sqrt().shape == (0,)
assert torch.tensor(4).sqrt() == 2 and torch.tensor(4.0).sqrt().shape == ()
assert x.half().sqrt().dtype == torch.float16
y = torch.tensor([4.0], requires_grad=True)
y.sqrt().backward()
assert y.grad == 0.25
assert abs(torch.tensor(0.5).acos().item() - 1.0471975511965976) < 1e-7
print(torch.backends.cpu.get_cpu_capability(), *provenance.machine(device)["cpu_flags"])
"""


def _run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(
    "avx2" not in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else True,
    reason="needs an x86 processor with AVX2",
)
def test_a_process_that_asks_for_it_runs_on_avx2_with_exact_roots() -> None:
    done = _run(PROGRAM, DREAMFUSION_INSTRUCTIONS="avx2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["AVX2", "fixed", "avx2", "fma"]


def test_without_the_variable_nothing_is_set() -> None:
    environment: dict[str, str] = {"HOME": "/"}
    instructions.fix(environment)
    assert environment == {"HOME": "/"}
    assert not instructions.are_fixed(environment)


def test_with_it_each_library_is_told() -> None:
    environment = {"DREAMFUSION_INSTRUCTIONS": "avx2", "MKL_CBWR": "AVX512"}
    instructions.fix(environment)
    assert instructions.are_fixed(environment)
    assert environment == {"DREAMFUSION_INSTRUCTIONS": "avx2", **instructions.LIBRARIES}


def test_another_value_is_refused_by_the_command_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DreamFusionKitError, match="expected avx2"):
        instructions.are_fixed({"DREAMFUSION_INSTRUCTIONS": "avx512"})


def test_a_library_that_was_loaded_too_early_is_noticed() -> None:
    program = (
        "import torch; torch.ones(9).exp(); import os\n"
        "os.environ['DREAMFUSION_INSTRUCTIONS'] = 'avx2'\n"
        "os.environ['ATEN_CPU_CAPABILITY'] = 'default'\n"
        "from dreamfusion_kit import exact_root\nexact_root.install()"
    )
    done = _run(program, ATEN_CPU_CAPABILITY="default")
    assert "expected AVX2" in done.stderr
