"""Our training of the paper recipe against the plain loop that the benchmarks compare it with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.paper_loop import train_plainly

from icis_cli import DEFAULT, PAPER
from icis_cli.methods.gradients import LayerGradients
from icis_cli.methods.networks import Batch, EncoderDecoders, reconstruction_loss
from icis_cli.methods.training import train

SEEN, UNSEEN, EPOCHS = 37, 9, 12


@pytest.fixture(scope="module")
def problem() -> tuple[torch.Tensor, torch.Tensor]:
    """Descriptors (46, 12) and rows (37, 33): a width that fills no cache line."""
    generator = torch.Generator().manual_seed(3)
    descriptors = torch.randn(SEEN + UNSEEN, 12, generator=generator).abs()
    return descriptors, torch.randn(SEEN, 33, generator=generator)


def start(recipe, descriptors, rows, seed=0) -> tuple[EncoderDecoders, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return EncoderDecoders(descriptors.shape[1], rows.shape[1], recipe, generator), generator


def test_the_paper_recipe_has_the_losses_and_rows_of_the_plain_loop(problem):
    descriptors, rows = problem
    recipe = replace(PAPER, hidden=128, epochs=EPOCHS, stop_slope=None)
    networks, generator = start(recipe, descriptors, rows)
    ours = train(networks, descriptors, rows, recipe, generator, None)
    plain_networks, generator = start(recipe, descriptors, rows)
    plain = train_plainly(plain_networks, descriptors, rows, EPOCHS, generator)
    assert len(ours.losses) == EPOCHS
    assert ours.losses[-1] < ours.losses[0]
    np.testing.assert_allclose(ours.losses, plain.losses, rtol=1e-5)
    with torch.no_grad():
        mine = networks.decode_w(networks.hidden_of_descriptors(descriptors[SEEN:]))
        theirs = plain.descriptor_to_row(descriptors[SEEN:])
        assert float((theirs - mine).norm() / theirs.norm()) < 1e-4


def test_one_step_has_the_loss_of_one_plain_step(problem):
    # One batch holds all classes, so that an epoch is a step; no seen class is left out.
    descriptors, rows = problem
    recipe = replace(PAPER, hidden=128, epochs=1, stop_slope=None)
    few, some = torch.cat([descriptors[:10], descriptors[SEEN : SEEN + 6]]), rows[:10]
    networks, generator = start(recipe, few, some)
    ours = train(networks, few, some, recipe, generator, None)
    plain_networks, generator = start(recipe, few, some)
    plain = train_plainly(plain_networks, few, some, 1, generator)
    assert ours.losses[0] == pytest.approx(plain.losses[0], rel=1e-6)


@pytest.mark.parametrize("hidden", [32, 31])
def test_kept_gradients_are_those_of_autograd(problem, hidden):
    descriptors, rows = problem
    recipe = replace(DEFAULT, hidden=hidden, init="normal")
    networks, _ = start(recipe, descriptors, rows)
    plain, _ = start(recipe, descriptors, rows)
    batch = Batch(descriptors[:20], rows[:15])
    with LayerGradients(networks) as gradients:
        for _ in range(2):  # what a step leaves in the memory does not count in the next
            loss = reconstruction_loss(networks, batch, recipe)
            # a layer that is run a second time, as the penalty of subreg does
            again = networks.decode_w(networks.hidden_of_descriptors(descriptors[5:9]))
            gradients.backward(loss + again.square().mean())
    again = plain.decode_w(plain.hidden_of_descriptors(descriptors[5:9]))
    (reconstruction_loss(plain, batch, recipe) + again.square().mean()).backward()
    for kept, parameter in zip(gradients.parameters, plain.parameters(), strict=True):
        # some are stored the other way round
        assert kept.grad is not None
        found = kept.grad if kept.shape == parameter.shape else kept.grad.t()
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_layer_that_takes_no_part_has_no_gradient_and_stays(problem):
    descriptors, rows = problem
    recipe = replace(DEFAULT, hidden=32, terms=("a-w",), init="normal", min_steps=5)
    networks, generator = start(recipe, descriptors[:SEEN], rows)
    before = networks.tensors()
    train(networks, descriptors[:SEEN], rows, recipe, generator, None)
    after = networks.tensors()
    changed = {name[:3] for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"E_A", "D_W"}


def test_training_leaves_nothing_behind_that_listens(problem):
    descriptors, rows = problem
    networks, generator = start(DEFAULT, descriptors, rows)
    train(networks, descriptors, rows, replace(DEFAULT, min_steps=3), generator, None)
    with LayerGradients(networks) as gradients:
        pass
    networks.decode_w(networks.hidden_of_descriptors(descriptors))
    loss = networks.decode_w(networks.hidden_of_descriptors(descriptors)).sum()
    assert not gradients._calls
    loss.backward()
    assert networks.decode_w.weight.grad is not None
