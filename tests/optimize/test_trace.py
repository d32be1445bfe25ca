"""Digests of every step: they see one bit, they are exact, and they find where runs part."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.optimize import loop, trace, trace_file
from dreamfusion_kit.optimize.checkpoint import Scratch
from dreamfusion_kit.optimize.trace import KINDS, DrawnViews, Trace
from dreamfusion_kit.priors.analytic import AnalyticPrior
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.records import Cameras, GuidanceOutput, Lighting, RenderOutput

from .loop_run import Silent, changed, run

STEP = 7


@pytest.fixture
def short(recipe: Recipe) -> Recipe:
    return changed(recipe, optimize={"num_steps": 12, "checkpoint_every_steps": 5})


def digest_of(*tensors: Tensor) -> int:
    """Return the digest of tensors, taken as what a step leaves behind."""
    found = Trace(1, torch.device("cpu"))
    views, image = torch.zeros(1), torch.zeros(1, 1, 1, 3)
    found.record(
        0,
        DrawnViews(
            Cameras(torch.eye(4)[None], views, views, views, views, 1, 1),
            Lighting(torch.zeros(1, 3), views, views, torch.zeros(1, dtype=torch.bool)),
        ),
        RenderOutput(image, image[..., 0], image[..., 0], image),
        GuidanceOutput(image.movedim(-1, 1), None, views),
        [],
        tensors,
    )
    return int(found.digests(1)[0, KINDS.index("field")])


def flipped(tensor: Tensor, byte: int, bit: int) -> Tensor:
    raw = bytearray(tensor.numpy().tobytes())
    raw[byte] ^= 1 << bit
    return torch.from_numpy(np.frombuffer(bytes(raw), tensor.numpy().dtype).copy())


@pytest.mark.parametrize("size", [1, 3, 1000, 300_001, 1_200_003])
def test_any_flipped_bit_changes_the_digest(size: int) -> None:
    tensor = torch.rand(size, generator=torch.Generator().manual_seed(size))
    before = digest_of(tensor)
    last = 4 * size - 1
    seen = {
        digest_of(flipped(tensor, byte, bit)) for byte in (0, last // 2, last) for bit in (0, 7)
    }
    assert before not in seen
    assert digest_of(tensor.clone()) == before


def test_the_digest_is_the_sum_that_the_module_states() -> None:
    """The oracle is Python's whole numbers, over two blocks and a rest of odd bytes."""
    words, block = 2 * (1 << 17) + 5, 1 << 17
    raw = torch.randint(0, 256, (8 * words + 3,), dtype=torch.uint8)
    values = np.frombuffer(raw[: 8 * words].numpy().tobytes(), "<u8").tolist()
    rest = int.from_bytes(raw[8 * words :].numpy().tobytes(), "little")
    golden = 0x9E3779B97F4A7C15

    def weighted(numbers: list[int]) -> int:
        return sum(x * (i * golden % (1 << 64) | 1) for i, x in enumerate(numbers)) % (1 << 64)

    blocks = [values[start : start + block] for start in range(0, words, block)]
    expected = weighted([*map(weighted, blocks), weighted([rest])])
    assert digest_of(raw) % (1 << 64) == expected


def test_equal_numbers_of_other_bits_differ() -> None:
    zero = torch.zeros(3)
    assert digest_of(zero) != digest_of(-zero)
    assert digest_of(torch.tensor([1.0, 2.0])) != digest_of(torch.tensor([2.0, 1.0]))


def test_all_kinds_of_numbers_and_places_are_read() -> None:
    half, true = torch.ones(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bool)
    part = torch.arange(20.0)[3:10]  # begins inside a word
    turned = torch.arange(6.0).reshape(2, 3).T
    one, none = torch.tensor(2.0), torch.empty(0)
    digests = [digest_of(t) for t in (half, true, part, turned, one, none)]
    assert len(set(digests)) == 6
    assert digest_of(part) == digest_of(part.clone())
    assert digest_of(turned) == digest_of(turned.contiguous())


def flip(tensor: Tensor) -> Tensor:
    """Return the tensor with the lowest bit of its middle number flipped."""
    bits = tensor.detach().clone().contiguous().view(torch.int32)
    bits.view(-1)[bits.numel() // 2] ^= 1
    return bits.view(torch.float32)


class Calls:
    """A function whose result gets a flipped bit, but in one call only."""

    def __init__(self, function: Callable[..., Any], change: Callable[[Any], Any], at: int) -> None:
        self.function, self.change, self.left = function, change, at

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        result = self.function(*arguments, **keywords)
        self.left -= 1
        return self.change(result) if self.left == -1 else result


def _cameras(cameras: Cameras) -> Cameras:
    from dataclasses import replace

    return replace(cameras, fov_y_deg=flip(cameras.fov_y_deg))


def inject(monkeypatch: pytest.MonkeyPatch, kind: str, step: int) -> None:
    """Flip one bit of a kind of tensor at a step."""
    from dreamfusion_kit.guidance import sds

    match kind:
        case "cameras":
            place, name, change = loop, "sample_cameras", _cameras
        case "render":

            def change(result: Any) -> Any:
                bits = result[0].image.detach().view(torch.int32).view(-1)
                bits[bits.numel() // 2] ^= 1  # in place, so that the graph stays
                return result

            place, name = loop.NerfModel, "render_with_samples"
        case "noise":
            from dataclasses import replace

            place, name = sds, "diffuse"

            def change(result: Any) -> Any:
                return replace(result, noise=flip(result.noise))
        case "prediction":
            place, name, change = AnalyticPrior, "predict", flip
        case "gradient":

            def change(result: Any) -> Any:
                bits = found[0].grad.view(torch.int32).view(-1)
                bits[bits.numel() // 2] ^= 1
                return result

            found: list[Any] = []
            own = loop._parameters

            def parameters(state: Any) -> Any:
                found[:] = own(state)
                return found

            monkeypatch.setattr(loop, "_parameters", parameters)
            place, name = loop, "clip_gradients"
        case _:

            def change(result: Any) -> Any:
                return [*map(flip, result[:1]), *result[1:]]

            place, name = loop, "_fields"
    calls = Calls(getattr(place, name), change, step)
    if isinstance(place, type):
        monkeypatch.setattr(place, name, lambda self, *a, **k: calls(self, *a, **k))
    else:
        monkeypatch.setattr(place, name, calls)


@pytest.fixture(scope="module")
def undisturbed(
    recipe: Recipe,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[str, ...]]:
    section = changed(recipe, optimize={"num_steps": 12, "checkpoint_every_steps": 5})
    scratch = Scratch(tmp_path_factory.mktemp("scratch"), "0" * 64)
    scratch.checkpoints.mkdir()
    scratch.previews.mkdir()
    return rows(run(section, scratch).digests, tmp_path_factory.mktemp("field"))


def rows(digests: trace.Digests, folder: Path) -> list[tuple[str, ...]]:
    trace_file.write(folder, digests)
    return trace_file.read(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_one_flipped_bit_is_found_at_its_step_and_kind(
    short: Recipe,
    make_scratch: Callable[[str], Scratch],
    undisturbed: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
) -> None:
    inject(monkeypatch, kind, STEP)
    found = trace_file.parting(undisturbed, rows(run(short, make_scratch(kind)).digests, tmp_path))
    assert found is not None
    assert (found.step, found.kinds[0]) == (STEP, kind)


def test_a_resumed_run_has_the_same_digests(
    short: Recipe,
    make_scratch: Callable[[str], Scratch],
    undisturbed: list[tuple[str, ...]],
    tmp_path: Path,
) -> None:
    scratch = make_scratch("stopped")
    for stop in (3, 8):
        with pytest.raises(KeyboardInterrupt):
            run(short, scratch, Silent(stop_at=stop))
    assert rows(run(short, scratch).digests, tmp_path) == undisturbed


def test_every_step_has_its_own_digests(undisturbed: list[tuple[str, ...]]) -> None:
    assert len(undisturbed) == 12
    columns = dict(zip(KINDS, zip(*undisturbed, strict=True), strict=True))
    assert {kind: len(set(column)) for kind, column in columns.items()} == dict.fromkeys(KINDS, 12)


def test_runs_of_other_lengths_part_where_the_shorter_ends() -> None:
    row = ("0" * 16,) * len(KINDS)
    assert trace_file.parting([row] * 3, [row] * 3) is None
    found = trace_file.parting([row] * 3, [row] * 2)
    assert found is not None
    assert found.step == 2


def test_a_parting_is_told_in_words() -> None:
    assert str(trace_file.Parting(3, ("noise",))) == "step 3: noise differs first"
    told = str(trace_file.Parting(3, ("gradient", "field")))
    assert told == "step 3: gradient differs first; then field"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.replace("cameras", "poses"),
        lambda text: text.replace("\n1\t", "\n2\t"),
        lambda text: text.replace("0", "x"),
        lambda text: text + "\n",
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: Callable[[str], str]) -> None:
    trace_file.write(tmp_path, torch.zeros((3, len(KINDS)), dtype=torch.int64))
    path = tmp_path / trace_file.NAME
    path.write_text(change(path.read_text()))
    with pytest.raises(DreamFusionKitError, match="make the asset again"):
        trace_file.read(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DreamFusionKitError, match="older versions did not record"):
        trace_file.read(tmp_path)


@pytest.mark.skipif(
    sys.byteorder != "little", reason="the file's digests are of little-endian words"
)
def test_the_file_has_a_row_per_step(tmp_path: Path) -> None:
    trace_file.write(tmp_path, torch.tensor([[0, 1, -1, 2, 3, 255]]))
    header, row = (tmp_path / trace_file.NAME).read_text().splitlines()
    assert header.split("\t") == ["step", *KINDS]
    assert row.split("\t")[:4] == ["0", "0" * 16, "0" * 15 + "1", "f" * 16]
