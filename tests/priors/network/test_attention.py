import pytest
import torch
from torch.backends import cuda

from dreamfusion_kit.priors.network.attention import repeatable_attention


def kernels() -> tuple[bool, bool, bool, bool]:
    fused = cuda.mem_efficient_sdp_enabled(), cuda.flash_sdp_enabled(), cuda.cudnn_sdp_enabled()
    return cuda.math_sdp_enabled(), *fused


def test_on_cuda_attention_is_plain_products_meanwhile() -> None:
    before = kernels()
    with repeatable_attention(torch.device("cuda", 0)):
        assert kernels() == (True, False, False, False)
    assert kernels() == before


def test_a_cpu_keeps_its_kernel() -> None:
    before = kernels()
    with repeatable_attention(torch.device("cpu")):
        assert kernels() == before


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_gives_the_same_gradient_twice(dtype: torch.dtype) -> None:
    draw = torch.Generator("cuda").manual_seed(0)
    queries, keys, values, pull = (
        torch.randn(2, 4, 777, 64, generator=draw, device="cuda").to(dtype) for _ in range(4)
    )
    found = []
    for _ in range(5):
        leaves = [part.clone().requires_grad_() for part in (queries, keys, values)]
        with repeatable_attention(pull.device):
            output = torch.nn.functional.scaled_dot_product_attention(*leaves)
        found.append(torch.cat(torch.autograd.grad(output, leaves, pull)))
    assert all(torch.equal(other, found[0]) for other in found[1:])
