"""Addressed randomness: equal addresses, equal numbers; other addresses, other numbers."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from dreamfusion_kit import seeding

ADDRESS = st.tuples(st.integers(0, 2**31), st.text(max_size=8), st.integers(0, 2**31))


@given(ADDRESS, ADDRESS)
def test_addresses_do_not_collide(
    first: tuple[int, str, int], second: tuple[int, str, int]
) -> None:
    same = seeding.derived_seed(*first) == seeding.derived_seed(*second)
    assert same == (first == second)


@given(ADDRESS)
def test_seeds_fit_a_generator(address: tuple[int, str, int]) -> None:
    assert 0 <= seeding.derived_seed(*address) < 2**63


def test_a_known_address_never_moves() -> None:
    """Every result ever made depends on this number."""
    assert seeding.derived_seed(0, "camera", 0) == 1402162728040541344


def test_draws_do_not_depend_on_draws_elsewhere() -> None:
    alone = torch.rand(4, generator=seeding.generator(3, "light", 10))
    torch.rand(100)
    for step in range(10):
        torch.rand(7, generator=seeding.generator(3, "light", step))
    assert torch.equal(torch.rand(4, generator=seeding.generator(3, "light", 10)), alone)


def test_neighbouring_addresses_are_uncorrelated() -> None:
    streams = itertools.product(range(4), ("camera", "light"), range(4))
    rows = [torch.randn(2000, generator=seeding.generator(*address)) for address in streams]
    correlation = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows))
    assert correlation.abs().max() < 5 / 2000**0.5
