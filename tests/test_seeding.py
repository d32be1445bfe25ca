"""Addressed randomness: equal addresses, equal numbers; other addresses, other numbers."""

import itertools

import pytest
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


STREAMS = ("camera", "light", "background", "render", "guidance", "occupancy", "phi")


def test_a_cpus_generator_reads_the_lower_half_of_a_seed() -> None:
    """What the module says of torch; if it reads more one day, nothing collides any longer."""
    seed = seeding.derived_seed(0, "camera", 3)
    assert seed >= 2**32
    drawn = [torch.Generator().manual_seed(s) for s in (seed, seed % 2**32, seed + 2**32)]
    first, *others = [torch.rand(4, generator=generator) for generator in drawn]
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("seed", range(3))
def test_no_two_addresses_of_a_whole_run_draw_the_same_on_a_cpu(seed: int) -> None:
    """The longest run that suites of the toybox have, toybox-16-budget-4, with every stream."""
    addresses = [(stream, step) for stream in STREAMS for step in range(4 * 700)]
    seeds = [seeding.derived_seed(seed, *address) for address in addresses]
    assert len({derived % 2**32 for derived in seeds}) == len(addresses)


def test_collisions_are_as_rare_as_chance_makes_them() -> None:
    """At a number of bits where many are expected: the hash has no structure below 32 bits."""
    pairs = 0
    for seed in range(200):
        addresses = [(stream, step) for stream in STREAMS[:2] for step in range(2500)]
        derived = [seeding.derived_seed(seed, *address) % 2**20 for address in addresses]
        pairs += len(addresses) - len(set(derived))
    expected = 200 * (2**20) * (5000 / 2**20 - 1 + (1 - 1 / 2**20) ** 5000)
    assert pairs == pytest.approx(expected, abs=5 * expected**0.5)


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
