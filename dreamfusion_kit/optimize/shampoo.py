"""Distributed Shampoo (arXiv 2002.09018), DreamFusion's optimiser, on one device.

For a matrix's gradient G, block by block, with statistics that decay by beta2:

    L = beta2 L + (1 - beta2) G G^T,    R = beta2 R + (1 - beta2) G^T G
    D = L^(-1/p) G R^(-1/p)             p = 2 x rank, or the recipe's exponent
    step = lr * momentum(D * |graft| / |D|)

The norm of a step is borrowed from a simpler optimiser, the graft: sqrt_n takes that of the
gradient's signs. The algorithm is `pytorch-optimizer`'s; here its state becomes tensors, and the
start vectors of its power iterations are drawn from a generator of their own.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from pytorch_optimizer.optimizer.shampoo import ScalableShampoo
from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting
from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode

from dreamfusion_kit import seeding
from dreamfusion_kit.recipe.schema import DistributedShampooSection

_GRAFTS = {
    "sqrt_n": LayerWiseGrafting.SQRTN,
    "sgd": LayerWiseGrafting.SGD,
    "adagrad": LayerWiseGrafting.ADAGRAD,
    "rmsprop": LayerWiseGrafting.RMSPROP,
}


class Shampoo(ScalableShampoo):
    """The library's optimiser, whose state can be saved as named tensors."""

    def __init__(self, groups: list[dict[str, Any]], section: DistributedShampooSection) -> None:
        """Take parameter groups with their learning rates."""
        super().__init__(
            groups,
            betas=section.betas,
            inverse_exponent_override=section.exponent_override,
            start_preconditioning_step=section.start_step,
            preconditioning_compute_steps=section.preconditioner_every_steps,
            block_size=section.block_size,
            shape_interpretation=False,  # a matrix is a matrix, however small
            graft_type=_GRAFTS[section.graft],
            nesterov=section.nesterov,
            matrix_eps=section.epsilon,
        )

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step, which neither depends on the global generators nor advances them."""
        with _StartVectors():
            return super().step(closure)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors only: the library keeps objects, and counts steps per group."""
        state: dict[int, dict[str, Tensor]] = {}
        for index, (group, parameter) in enumerate(self._parameters()):
            if parameter in self.state:
                state[index] = {name: own.clone() for name, own in self._tensors(parameter)}
                state[index]["step"] = torch.tensor(group["step"])
        return {"state": state, "param_groups": self.param_groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Replace the state's tensors with saved ones; a wrong shape is an error."""
        saved: dict[int, dict[str, Tensor]] = state_dict["state"]
        for index, (group, parameter) in enumerate(self._parameters()):
            if index not in saved:
                continue
            group["step"] = int(saved[index]["step"])
            self._allocate(group, parameter)
            for name, own in self._tensors(parameter):
                own.copy_(saved[index][name])

    def _parameters(self) -> Iterator[tuple[dict[str, Any], Parameter]]:
        return ((group, p) for group in self.param_groups for p in group["params"])

    def _allocate(self, group: dict[str, Any], parameter: Parameter) -> None:
        """Have the library create one parameter's state, which it does on seeing a gradient."""
        gradient, parameter.grad = parameter.grad, torch.zeros_like(parameter)
        self.init_group({**group, "params": [parameter]})
        parameter.grad = gradient

    def _tensors(self, parameter: Parameter) -> Iterator[tuple[str, Tensor]]:
        """Yield the state's own tensors; writing to one changes the state."""
        state = self.state[parameter]
        yield "momentum", state["momentum"]
        yield "graft_momentum", state["graft"].momentum
        if hasattr(state["graft"], "statistics"):  # AdaGrad's and RMSProp's second moments
            yield "graft_statistics", state["graft"].statistics
        for kind in ("statistics", "pre_conditioners"):
            for block, tensor in enumerate(getattr(state["pre_conditioner"], kind)):
                yield f"{kind}_{block}", tensor


class _StartVectors(TorchFunctionMode):
    """Seeds every `torch.randn` of the library, which takes no generator.

    The draws start power iterations, so that each may begin from the same seed: what is drawn
    depends only on the shape and the device, not on the step or the order of the parameters.
    """

    def __torch_function__(  # Any: torch functions take and return anything.
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            device = kwargs.get("device", "cpu")
            kwargs = {**kwargs, "generator": seeding.generator(0, "shampoo", device=device)}
        return func(*args, **kwargs)
