"""The losses against hand-computed cases, and what the training loop may and may not do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from icis_cli import DEFAULT, PAPER
from icis_cli.methods.networks import Batch, EncoderDecoders, distance, reconstruction_loss
from icis_cli.methods.recipes import TERMS
from icis_cli.methods.training import train

SMALL = replace(PAPER, hidden=32)


def networks(recipe=SMALL, width=3, rank=2, seed=0) -> EncoderDecoders:
    return EncoderDecoders(width, rank, recipe, torch.Generator().manual_seed(seed))


def batch(seen=2, unseen=1, width=3, rank=2, seed=1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    descriptors = torch.randn(seen + unseen, width, generator=generator)
    return Batch(descriptors, torch.randn(seen, rank, generator=generator))


def test_loss_of_a_case_computed_by_hand():
    # Every layer is the identity on two dimensions, so that each reconstruction can be read off.
    nets = networks(replace(SMALL, hidden=2), width=2, rank=2)
    with torch.no_grad():
        for layer in (nets.encode_a, nets.decode_a, nets.encode_w, nets.decode_w):
            layer.weight.copy_(torch.eye(2))
    a = torch.tensor([[1.0, 0.0], [3.0, 4.0]])  # the second class is unseen
    w = torch.tensor([[0.6, 0.8]])
    # a-a and w-w are perfect: 0. w-a: cos((.6,.8), (1,0)) = .6; a-w: cos((1,0), (.6,.8)) = .6.
    loss = reconstruction_loss(nets, Batch(a, w), SMALL)
    assert float(loss.detach()) == pytest.approx(0.4 + 0.4, abs=1e-6)
    # Negative entries do not pass the ReLU: (0, 4) is rebuilt from (-3, 4), cos = .8.
    a[1] = torch.tensor([-3.0, 4.0])
    loss = reconstruction_loss(nets, Batch(a, w), SMALL)
    assert float(loss.detach()) == pytest.approx((0 + 0.2) / 2 + 0.8, abs=1e-6)


def test_squared_loss_of_a_case_computed_by_hand():
    output = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    target = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert float(distance(output, target, "squared")) == pytest.approx((5 + 25) / 2)
    assert float(distance(output[:1], target[1:], "cosine")) == pytest.approx(1 - 11 / (5**0.5 * 5))


def plain_loss(nets: EncoderDecoders, data: Batch) -> torch.Tensor:
    """The paper's four terms written one by one."""

    def cos(x, y):
        return 1 - (x * y).sum(dim=1) / (x.norm(dim=1) * y.norm(dim=1))

    def encode_a(x):
        return torch.relu(x @ nets.encode_a.weight.T + nets.encode_a.bias)

    def encode_w(x):
        return torch.relu(x @ nets.encode_w.weight.T + nets.encode_w.bias)

    def decode_a(x):
        return x @ nets.decode_a.weight.T + nets.decode_a.bias

    def decode_w(x):
        return x @ nets.decode_w.weight.T + nets.decode_w.bias

    a, w = data.descriptors, data.rows
    seen = a[: len(w)]
    return (
        cos(decode_a(encode_a(a)), a).mean()
        + cos(decode_w(encode_w(w)), w).mean()
        + cos(decode_a(encode_w(w)), seen).mean()
        + cos(decode_w(encode_a(seen)), w).mean()
    )


def test_one_pass_per_decoder_gives_the_losses_and_gradients_of_the_plain_formula():
    nets, data = networks(width=5, rank=6), batch(3, 2, width=5, rank=6)
    fast = reconstruction_loss(nets, data, SMALL)
    gradients = torch.autograd.grad(fast, list(nets.parameters()))
    slow = plain_loss(nets, data)
    expected = torch.autograd.grad(slow, list(nets.parameters()))
    assert float(fast.detach()) == pytest.approx(float(slow.detach()), rel=1e-5)
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("recipe", [SMALL, replace(DEFAULT, hidden=4)], ids=["paper", "default"])
def test_gradients_reach_all_four_layers(recipe):
    nets, data = networks(recipe), batch()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # zero decoders pass no gradient to the encoders before their first step
        nets.decode_a.weight.normal_(generator=generator)
        nets.decode_w.weight.normal_(generator=generator)
    reconstruction_loss(nets, data, recipe).backward()
    for name, parameter in nets.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_unseen_classes_enter_the_descriptor_reconstruction_only():
    nets, data = networks(), batch(seen=2, unseen=3)
    seen_only = Batch(data.descriptors[:2], data.rows)
    without = replace(SMALL, terms=("w-w", "w-a", "a-w"))
    changed = Batch(data.descriptors.clone(), data.rows)
    changed.descriptors[2:] *= -5
    for other in (changed, seen_only):
        assert torch.equal(
            reconstruction_loss(nets, data, without), reconstruction_loss(nets, other, without)
        )
    assert not torch.equal(
        reconstruction_loss(nets, data, SMALL), reconstruction_loss(nets, changed, SMALL)
    )


def test_a_batch_without_seen_classes_leaves_the_row_side_alone():
    nets = networks()
    data = Batch(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)), torch.empty(0, 2))
    reconstruction_loss(nets, data, SMALL).backward()
    assert nets.encode_a.weight.grad is not None
    assert nets.decode_a.weight.grad is not None
    for layer in (nets.encode_w, nets.decode_w):
        assert layer.weight.grad is None or not layer.weight.grad.any()


@pytest.mark.parametrize("left_out", TERMS)
def test_leaving_out_a_term_takes_exactly_that_term_off(left_out):
    nets, data = networks(), batch(3, 1)
    terms = tuple(term for term in TERMS if term != left_out)
    rest = reconstruction_loss(nets, data, replace(SMALL, terms=terms))
    alone = reconstruction_loss(nets, data, replace(SMALL, terms=(left_out,)))
    assert float((rest + alone).detach()) == pytest.approx(
        float(plain_loss(nets, data).detach()), rel=1e-5
    )
    assert float(alone.detach()) > 0


def data(classes=24, seen=16, width=3, rank=5):
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(classes, width, generator=generator),
        torch.randn(seen, rank, generator=generator),
    )


def test_paper_steps_are_those_of_plain_adam_over_shuffled_batches():
    descriptors, rows = data()
    recipe = replace(SMALL, epochs=3, lr=1e-3)
    fast = networks(recipe, rank=5)
    generator = torch.Generator().manual_seed(7)
    training = train(fast, descriptors, rows, recipe, generator, None)
    slow = networks(recipe, rank=5)
    optimiser = torch.optim.Adam(slow.parameters(), lr=1e-3, betas=(0.9, 0.999), fused=False)
    generator = torch.Generator().manual_seed(7)
    losses = []
    for _ in range(3):
        order, total = torch.randperm(24, generator=generator), 0.0
        for chosen in (order[:16], order[16:]):
            seen = chosen[chosen < 16]
            unseen = chosen[chosen >= 16]
            loss = plain_loss(slow, Batch(descriptors[torch.cat([seen, unseen])], rows[seen]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        losses.append(total / 2)
    np.testing.assert_allclose(training.losses, losses, rtol=1e-5)
    for found, wanted in zip(fast.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_paper_networks_start_as_published():
    nets = EncoderDecoders(312, 600, PAPER, torch.Generator().manual_seed(0))
    for layer in (nets.encode_a, nets.decode_a, nets.encode_w, nets.decode_w):
        assert not layer.bias.any()
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.01)
        assert abs(float(layer.weight.detach().mean())) < 1e-4
    assert (PAPER.lr, PAPER.batch, PAPER.hidden, PAPER.epochs) == (1e-5, 16, 2048, 1000)


def test_training_stops_when_the_loss_is_flat_as_published():
    descriptors, rows = data()
    # A step of zero makes every epoch's loss differ by batching alone: flat from the first look.
    recipe = replace(SMALL, lr=1e-12)
    training = train(networks(recipe, rank=5), descriptors, rows, recipe, torch.Generator(), None)
    # Looked at from epoch index 21 on, five times in a row: indices 21 to 25.
    assert len(training.losses) == 26
    assert "flat" in training.stopped


def test_the_saved_layers_are_the_trained_function():
    recipe = replace(DEFAULT, hidden=8)
    nets = networks(recipe, width=5, rank=4)
    with torch.no_grad():
        nets.decode_w.weight.normal_(generator=torch.Generator().manual_seed(1))
    layers = nets.tensors()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(2))
    expected = nets.decode_w(nets.hidden_of_descriptors(x)).detach().numpy()
    hidden = np.maximum(x.numpy() @ layers["E_A.weight"].T + layers["E_A.bias"], 0)
    found = hidden @ layers["D_W.weight"].T + layers["D_W.bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    w = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    expected = nets.decode_w(nets.hidden_of_rows(w)).detach().numpy()
    hidden = np.maximum(w.numpy() @ layers["E_W.weight"].T + layers["E_W.bias"], 0)
    found = hidden @ layers["D_W.weight"].T + layers["D_W.bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
