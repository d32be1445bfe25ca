"""What is added to a U-Net: attention against softmax by hand, and the camera."""

import torch

from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.priors.network.multi_view import (
    camera_rows,
    changed_tensors,
    make_multi_view,
    seen_from,
)

from ..conftest import build_unet  # noqa: TID252
from ..mvdream_network import Attention  # noqa: TID252

NOISY = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TEXT = torch.randn(8, 5, 12, generator=torch.Generator().manual_seed(1))
TIMESTEP = torch.tensor([400] * 4 + [700] * 4)
ROWS = torch.randn(8, 16, generator=torch.Generator().manual_seed(2))


def unet() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_unet(3, 3, 8).eval().requires_grad_(False)


def predict(model: torch.nn.Module, noisy: torch.Tensor = NOISY) -> torch.Tensor:
    count = len(noisy)
    return model(noisy, TIMESTEP[:count], TEXT[:count]).sample


def test_self_attention_runs_over_all_views_of_an_object() -> None:
    model = make_multi_view(unet(), 4)
    name = next(n for n, _ in model.named_modules() if n.endswith("attn1"))
    attention = model.get_submodule(name)
    oracle = Attention(8, 8, attention.heads)
    oracle.load_state_dict(attention.state_dict())
    tokens = torch.randn(8, 16, 8, generator=torch.Generator().manual_seed(3))
    together = tokens.reshape(2, 64, 8)
    expected = oracle(together, together).reshape(8, 16, 8)
    torch.testing.assert_close(attention(tokens), expected)


def test_attention_to_the_text_stays_that_of_each_view() -> None:
    plain, model = unet(), make_multi_view(unet(), 4)
    name = next(n for n, _ in model.named_modules() if n.endswith("attn2"))
    tokens = torch.randn(8, 16, 8, generator=torch.Generator().manual_seed(3))
    found, expected = (m.get_submodule(name)(tokens, TEXT) for m in (model, plain))
    assert torch.equal(found, expected)


def test_with_one_view_and_no_camera_it_is_the_unet_as_it_was() -> None:
    model = make_multi_view(unet(), 1)
    with seen_from(model, ROWS):
        found = predict(model)
    assert torch.equal(found, predict(unet()))


def test_views_see_each_other_and_no_other_object() -> None:
    model = make_multi_view(unet(), 4)
    before = predict(model)
    changed = NOISY.clone()
    changed[1] += 1.0
    differs = (predict(model, changed) != before).flatten(1).any(dim=1)
    assert differs.tolist() == [True] * 4 + [False] * 4


def test_the_camera_is_added_to_the_time_inside_the_block_alone() -> None:
    model = make_multi_view(unet(), 4)
    torch.nn.init.normal_(model.get_submodule("camera_embedding.2").weight)
    before = predict(model)
    first, _, last = model.get_submodule("camera_embedding").children()
    time = model.get_submodule("time_embedding")
    features = torch.randn(8, 8, generator=torch.Generator().manual_seed(4))
    with seen_from(model, ROWS):
        hidden = ROWS @ first.weight.T + first.bias
        offset = hidden * hidden.sigmoid() @ last.weight.T + last.bias
        found = time(features)
        assert not torch.equal(predict(model), before)
    torch.testing.assert_close(found, time(features) + offset)
    assert torch.equal(predict(model), before)


def test_a_camera_is_its_rotation_and_the_direction_of_its_place() -> None:
    cameras = orbit_cameras(
        torch.tensor([0.0, 90.0]), elevation_deg=30, radius=2.5, fov_y_deg=40, image_size_px=8
    )
    rows = camera_rows(cameras).reshape(2, 4, 4)
    assert torch.equal(rows[:, :3, :3], cameras.camera_to_world[:, :3, :3])
    torch.testing.assert_close(
        rows[:, :3, 3], torch.tensor([[0.8660254, 0, 0.5], [0, 0.8660254, 0.5]])
    )
    assert rows[:, 3].tolist() == [[0, 0, 0, 1]] * 2


def test_what_changes_is_self_attention_the_camera_and_what_reads_it() -> None:
    names = changed_tensors(make_multi_view(unet(), 4)).keys()
    parts = ("camera_embedding.", ".attn1.", ".time_emb_proj.")
    counts = [sum(part in name for name in names) for part in parts]
    # Four transformers of five tensors; seven residual blocks, of a weight and a bias.
    assert counts == [4, 4 * 5, 8 * 2]
    assert len(names) == sum(counts)


def test_nothing_is_drawn_from_the_global_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = make_multi_view(build_unet(3, 3, 8), 4)
    torch.manual_seed(5)
    make_multi_view(first, 4)
    assert torch.equal(torch.rand(3), expected)
