"""The game on points: what is true by construction, and what the lesson shows of it."""

import math

import pytest
import torch

from medsr_core.training import losses
from medsr_workbook.toys import ring


def test_the_truth_is_a_ring_of_eight_gaussians():
    points = ring.real_points(20_000, torch.Generator().manual_seed(0))
    nearest = torch.cdist(points, ring.centres()).argmin(1)
    assert torch.allclose(torch.bincount(nearest) / 20_000, torch.full((8,), 1 / 8), atol=0.01)
    assert (points - ring.centres()[nearest]).std().item() == pytest.approx(0.1, abs=0.002)
    assert torch.allclose(ring.centres().norm(dim=1), torch.full((8,), 2.0))


def test_scores_of_known_point_sets():
    centres = ring.centres()
    assert ring.modes_covered(centres) == 8 and ring.on_target(centres) == 1.0
    collapsed = centres[:1].repeat(100, 1)
    assert ring.modes_covered(collapsed) == 1 and ring.on_target(collapsed) == 1.0
    assert ring.modes_covered(torch.zeros(100, 2)) == 0 and ring.on_target(torch.zeros(100, 2)) == 0.0
    half = torch.cat([centres[0] + torch.tensor([[0.29, 0.0]]), centres[0] + torch.tensor([[0.31, 0.0]])])
    assert ring.on_target(half) == 0.5  # three standard deviations


def test_a_coin_has_the_loss_two_log_two():
    coin = torch.zeros(4, 1)
    assert losses.discriminator(coin, coin).item() == pytest.approx(2 * math.log(2))


def test_the_game_repeats_with_its_seed_and_leaves_the_global_seed_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (ring.last(ring.play(20, every=10, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first.points, again.points) and not torch.equal(first.points, other.points)


def test_snapshots_come_every_so_often_and_belief_is_a_probability():
    seen = []
    ring.last(ring.play(30, every=10), watch=seen.append)
    assert [snapshot.step for snapshot in seen] == [0, 10, 20, 30]
    assert all(snapshot.belief.shape == (40, 40) for snapshot in seen)
    assert all(((snapshot.belief >= 0) & (snapshot.belief <= 1)).all() for snapshot in seen)


def test_the_grid_runs_row_by_row_from_the_lower_left():
    grid = ring.grid().reshape(40, 40, 2)
    assert grid[0, 0].tolist() == [-3, -3] and grid[0, -1].tolist() == [3, -3] and grid[-1, 0].tolist() == [-3, 3]


def test_balanced_players_find_the_modes_and_a_strong_discriminator_loses_them():
    fair = ring.last(ring.play(800, every=800)).points
    strong = ring.last(ring.play(500, discriminator_turns=5, every=500)).points
    assert ring.modes_covered(fair) >= 6
    assert ring.modes_covered(strong) <= 4 and ring.on_target(strong) > 0.7


def test_turns_must_be_positive():
    with pytest.raises(ValueError, match="1 or more"):
        next(ring.play(10, generator_turns=0))
