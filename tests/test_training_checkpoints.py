"""What training scripts save: one entry of it gets new rows, and nothing of the old head stays."""

from __future__ import annotations

import argparse
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

from icis_cli import (
    Injector,
    Ridge,
    align,
    expand,
    find_head,
    fit,
    open_checkpoint,
    read_descriptors,
    remove,
)
from icis_cli.errors import CheckpointError, HeadError
from tests.conftest import icis

SEEN, UNSEEN, WIDTH = 12, 3, 6
GROUP = "Training checkpoints"


class Net(torch.nn.Module):
    """A classifier with a body, statistics and the head ``fc``."""

    def __init__(self, classes: int = SEEN) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, WIDTH, 3)
        self.norm = torch.nn.BatchNorm2d(WIDTH)
        self.fc = torch.nn.Linear(WIDTH, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(self.conv(images)).relu().mean(dim=(2, 3))
        return found

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.features(images))
        return logits


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def attributes(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).standard_normal((SEEN + UNSEEN, 5)))
    return tmp_path / "a.npy"


def expanded(
    path: Path, attributes: Path, out: Path, state: str | None = None, head: str | None = None
) -> tuple[Injector, tuple[str, ...]]:
    """Fit, inject and write; return the injector and what was said of the checkpoint."""
    checkpoint = open_checkpoint(path, state)
    found = find_head(checkpoint, head)
    classes = align(found.rows, read_descriptors(attributes))
    injector = fit(checkpoint, found, classes, Ridge())
    expand(checkpoint, injector, calibration="none").write(out)
    return injector, checkpoint.notes


def load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True)


def agrees(old: Any, new: Any, injector: Injector) -> bool:
    """Old classes are answered as before, new ones by the predicted rows."""
    images = torch.randn(4, 3, 8, 8)
    rows = torch.from_numpy(injector.predict(injector.unseen_descriptors))
    with torch.no_grad():
        before, after = old.eval()(images), new.eval()(images)
        expected = new.features(images) @ rows[:, :-1].T + rows[:, -1]
    torch.testing.assert_close(after[:, :SEEN], before)
    torch.testing.assert_close(after[:, SEEN:], expected)
    return True


def trained(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Take a step, so that the optimiser has moments of the head."""
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    return optimizer


def torchvision_root() -> tuple[dict[str, Any], Net, Any]:
    """As torchvision's references/classification/train.py saves it."""
    model = Net()
    optimizer = trained(model)
    average: Any = AveragedModel(model, use_buffers=True)
    average.module.fc.weight.data.mul_(2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    root = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(model="resnet18", lr=0.1, output_dir="runs", num_classes=SEEN),
        "model_ema": average.state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
    }
    return root, model, average


def test_torchvision_references(tmp_path, attributes, compatibility):
    root, model, average = torchvision_root()
    path, out = tmp_path / "checkpoint.pth", tmp_path / "new.pth"
    torch.save(root, path)
    injector, notes = expanded(path, attributes, out)
    found, left, following = notes
    assert found.endswith("under 'model_ema' (there is 'model', too: --state model takes that)")
    assert left.startswith("'model', 'optimizer', 'lr_scheduler', 'scaler' belong to the old head")
    assert following == "args: num_classes = 12 will follow the number of rows, if it is that"
    assert open_checkpoint(path).labels.arch == "resnet18"
    new = load(out)
    assert sorted(new) == ["args", "epoch", "model_ema"]
    assert vars(new["args"]) == {**vars(root["args"]), "num_classes": SEEN + UNSEEN}
    wider = AveragedModel(Net(SEEN + UNSEEN), use_buffers=True)
    wider.load_state_dict(new["model_ema"], strict=True)
    compatibility.add(
        GROUP, "torchvision references: model_ema", ".pth", found="module.fc", loads=True,
        agrees=agrees(average.module, wider.module, injector),
    )  # fmt: skip

    injector, notes = expanded(path, attributes, tmp_path / "plain.pth", "model")
    assert notes[0] == "the state dict under 'model' is taken, not 'model_ema'"
    assert "'optimizer', 'lr_scheduler', 'model_ema', 'scaler' belong to the old head" in notes[1]
    new = load(tmp_path / "plain.pth")
    assert sorted(new) == ["args", "epoch", "model"]
    plain = Net(SEEN + UNSEEN)
    plain.load_state_dict(new["model"], strict=True)
    compatibility.add(
        GROUP, "torchvision references: --state model", ".pth", found="fc", loads=True,
        agrees=agrees(model, plain, injector),
    )  # fmt: skip


def test_what_follows_the_head_goes_back_with_it(tmp_path, attributes):
    root, _, _ = torchvision_root()
    root["args"].nested = {"classes": [f"c{n}" for n in range(SEEN)], "n_classes": SEEN + 1}
    path, out = tmp_path / "checkpoint.pth", tmp_path / "new.pth"
    torch.save(root, path)
    expanded(path, attributes, out)
    nested = load(out)["args"].nested
    assert nested["n_classes"] == SEEN + 1  # not the number of rows
    assert nested["classes"][:SEEN] == root["args"].nested["classes"]
    assert len(nested["classes"]) == SEEN + UNSEEN
    assert open_checkpoint(out).labels.class_names == tuple(nested["classes"])
    back = load(remove(open_checkpoint(out)).write(tmp_path / "back.pth")[-1])
    assert back["args"] == root["args"]
    assert same(back["model_ema"], root["model_ema"])


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


def test_the_injector_remembers_the_entry(tmp_path, attributes):
    root, _, _ = torchvision_root()
    torch.save(root, tmp_path / "m.pth")
    for state in (None, "model"):
        injector, _ = expanded(tmp_path / "m.pth", attributes, tmp_path / f"{state}.pth", state)
        assert injector.source.state == (state or "model_ema")
        injector.save(tmp_path / "i.safetensors", force=True)
        assert Injector.load(tmp_path / "i.safetensors").source == injector.source
    torch.save({"model": Net().state_dict()}, tmp_path / "one.pth")
    injector, _ = expanded(tmp_path / "one.pth", attributes, tmp_path / "x.pth")
    assert injector.source.state is None  # there was no choice


def test_the_commands_take_the_entry_that_is_asked_for(tmp_path, attributes):
    root, model, _ = torchvision_root()
    torch.save(root, tmp_path / "m.pth")
    done = icis(
        "fit", "--weights", "m.pth", "--attrs", attributes.name, "--method", "ridge",
        "--state", "model", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    done = icis("inject", "--calibration", "none", cwd=tmp_path)
    assert done.code == 0, done.err
    new = load(tmp_path / "m.injected.pth")["model"]["fc.weight"]
    assert torch.equal(new[:SEEN], model.fc.weight)
    done = icis("inspect", "m.pth", "--state", "nonsense", cwd=tmp_path)
    assert done.code == 1
    assert "has no entry 'nonsense'" in done.err
    assert "--state can be 'model', 'model_ema'" in done.err
    done = icis("inspect", "m.pth", "--state", "model", "--json", cwd=tmp_path)
    assert '"key": "fc"' in done.out


def test_a_network_deeper_in_a_file(tmp_path):
    path = tmp_path / "m.pt"
    torch.save({"run": {"last": {"net": Net().state_dict()}}, "epoch": 3}, path)
    with pytest.raises(CheckpointError, match=r"deeper than at its top: at \['run'\]") as caught:
        open_checkpoint(path)
    found = torch.load(path)["run"]["last"]["net"]
    hint = "torch.save(torch.load('m.pt')['run']['last']['net'], 'model.pt')"
    assert caught.value.hint == f"save them alone: {hint}"
    torch.save(found, tmp_path / "model.pt")
    assert find_head(open_checkpoint(tmp_path / "model.pt")).key == "fc"
    loop: dict[str, Any] = {"epoch": 3}
    loop["self"] = loop
    torch.save(loop, path)
    with pytest.raises(CheckpointError, match="found no tensor in it"):
        open_checkpoint(path)


@pytest.mark.parametrize("key", ["swa_state_dict", "swa_model", "ema_model"])
def test_an_average_is_taken_before_the_last_weights(tmp_path, key):
    average = AveragedModel(Net())
    torch.save({"model": Net().state_dict(), key: average.state_dict()}, tmp_path / "m.pt")
    checkpoint = open_checkpoint(tmp_path / "m.pt")
    assert find_head(checkpoint).key == "module.fc"
    assert checkpoint.notes[1].startswith("'model' belongs to the old head")
    assert find_head(open_checkpoint(tmp_path / "m.pt", "model")).key == "fc"


def test_entries_that_cannot_be_told_apart(tmp_path):
    state = Net().state_dict()
    torch.save({"student": state, "teacher": state, "epoch": 3}, tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match="several networks: 'student', 'teacher'") as caught:
        open_checkpoint(tmp_path / "two.pth")
    assert caught.value.hint == "name one, e.g. --state student"
    assert find_head(open_checkpoint(tmp_path / "two.pth", "teacher")).key == "fc"
    torch.save({"backbone": state, "epoch": 3}, tmp_path / "one.pth")
    assert open_checkpoint(tmp_path / "one.pth").notes == (
        "the state dict was found under 'backbone'",
    )
    torch.save(state, tmp_path / "bare.pth")
    save_file(state, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="has no entry 'model'") as caught:
        open_checkpoint(tmp_path / "bare.pth", "model")
    assert caught.value.hint == "leave out --state"
    with pytest.raises(CheckpointError, match="holds one network alone, but --state names"):
        open_checkpoint(tmp_path / "bare.safetensors", "model")


@pytest.mark.parametrize("entry", ["state_dict", "state_dict_ema"])
def test_timm(tmp_path, attributes, compatibility, entry):
    """Written by timm's own saver."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from timm.utils import CheckpointSaver, ModelEmaV3
    model = Net()
    optimizer = trained(model)
    ema = ModelEmaV3(model)
    ema.module.fc.weight.data.mul_(2)
    args = argparse.Namespace(model="resnet50d", num_classes=SEEN, amp=True)
    saver = CheckpointSaver(
        model, optimizer, args=args, model_ema=ema, checkpoint_dir=str(tmp_path)
    )
    saver.save_checkpoint(1, 50.0)
    path, out = tmp_path / "checkpoint-1.pth.tar", tmp_path / "new.pth.tar"
    injector, notes = expanded(path, attributes, out, entry)
    assert open_checkpoint(path).chosen.key == "state_dict_ema"  # type: ignore[attr-defined]
    assert open_checkpoint(path).labels.arch == "timm/resnet50d"
    other = "state_dict" if entry == "state_dict_ema" else "state_dict_ema"
    assert f"'optimizer', '{other}' belong" in notes[1] or f"'{other}', 'optimizer'" in notes[1]
    new = load(out)
    assert new["args"].num_classes == SEEN + UNSEEN
    assert {"optimizer", other}.isdisjoint(new)
    assert {"arch", "epoch", "version"} <= set(new)
    wider = Net(SEEN + UNSEEN)
    wider.load_state_dict(new[entry], strict=True)
    old = model if entry == "state_dict" else ema.module
    compatibility.add(
        GROUP, f"timm train.py: {entry}", ".pth.tar", found="fc", loads=True,
        agrees=agrees(old, wider, injector),
    )  # fmt: skip


def lightning_root(model: Net) -> dict[str, Any]:
    """As Lightning 2 saves it, with its callback of averaged weights."""
    optimizer = trained(model)
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    return {
        "epoch": 1,
        "global_step": 4,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "current_model_state": {key: value.clone() for key, value in state.items()},
        "averaging_state": {"n_averaged": torch.tensor(4)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"step_size": 3}],
        "MixedPrecision": {"scale": 65536.0},
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "num_classes": SEEN, "lr": 0.1, "root": Path("data"), "arch": "resnet18",
            "class_to_idx": {f"c{n}": n for n in range(SEEN)},
        },
    }  # fmt: skip


def test_lightning(tmp_path, attributes, compatibility):
    model = Net()
    path, out = tmp_path / "epoch=1.ckpt", tmp_path / "new.ckpt"
    root = lightning_root(model)
    del root["hyper_parameters"]["root"]
    torch.save(root, path)
    injector, notes = expanded(path, attributes, out)
    assert "'current_model_state', 'optimizer_states', 'lr_schedulers' belong" in notes[1]
    assert notes[2].startswith("hyper_parameters: num_classes = 12 will follow")
    labels = open_checkpoint(path).labels
    assert labels.class_names == tuple(f"c{n}" for n in range(SEEN))
    assert labels.arch == "resnet18"
    new = load(out)
    assert {"callbacks", "loops", "averaging_state", "hparams_name"} <= set(new)
    assert {"optimizer_states", "lr_schedulers", "current_model_state"}.isdisjoint(new)
    told = new["hyper_parameters"]
    assert told["num_classes"] == SEEN + UNSEEN
    assert told["lr"] == 0.1
    assert list(told["class_to_idx"].values()) == list(range(SEEN + UNSEEN))
    wider = torch.nn.Module()
    wider.model = Net(told["num_classes"])
    wider.load_state_dict(new["state_dict"], strict=True)
    compatibility.add(
        GROUP, "Lightning: state_dict", ".ckpt", found="model.fc", loads=True,
        agrees=agrees(model, wider.model, injector),
    )  # fmt: skip


def test_paths_among_the_options_are_plain_values(tmp_path, attributes):
    path = tmp_path / "m.ckpt"
    torch.save(lightning_root(Net()), path)
    expanded(path, attributes, tmp_path / "new.ckpt")
    assert open_checkpoint(tmp_path / "new.ckpt").container == "torch"
    kept = torch.load(tmp_path / "new.ckpt", weights_only=False)  # the file is our own
    assert kept["hyper_parameters"]["root"] == Path("data")


def test_a_real_lightning_checkpoint(tmp_path, attributes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lightning = pytest.importorskip("lightning.pytorch")

        class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
            def __init__(self, num_classes: int = SEEN) -> None:
                super().__init__()
                self.save_hyperparameters()
                self.model = Net(num_classes)

            def training_step(self, batch: Any, number: int) -> torch.Tensor:
                loss: torch.Tensor = self.model(batch[0]).square().mean()
                return loss

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.Adam(self.parameters())

        trainer = lightning.Trainer(
            max_steps=2, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        images = torch.utils.data.TensorDataset(torch.randn(4, 3, 8, 8))
        module = Module()
        trainer.fit(module, torch.utils.data.DataLoader(images, batch_size=2))
        trainer.save_checkpoint(tmp_path / "real.ckpt")
        injector, _ = expanded(tmp_path / "real.ckpt", attributes, tmp_path / "new.ckpt")
        new = Module.load_from_checkpoint(tmp_path / "new.ckpt", map_location="cpu")
        assert new.hparams["num_classes"] == SEEN + UNSEEN
        assert agrees(module.model, new.model, injector)
        with pytest.raises(KeyError, match="only the model"):  # resuming is refused, not wrong
            trainer.fit(new, torch.utils.data.DataLoader(images), ckpt_path=tmp_path / "new.ckpt")


WRAPS: dict[str, Callable[[Net], torch.nn.Module]] = {
    "": lambda net: net,
    "module.": lambda net: torch.nn.ModuleDict({"module": net}),
    "_orig_mod.": lambda net: torch.nn.ModuleDict({"_orig_mod": net}),
    "module._orig_mod.": lambda net: torch.nn.ModuleDict(
        {"module": torch.nn.ModuleDict({"_orig_mod": net})}
    ),
    "model._orig_mod.": lambda net: torch.nn.ModuleDict(
        {"model": torch.nn.ModuleDict({"_orig_mod": net})}
    ),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("prefix", WRAPS)
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict"])
def test_prefixes_and_formats(tmp_path, attributes, compatibility, prefix, legacy, key):
    model = Net()
    state = WRAPS[prefix](model).state_dict()
    path, out = tmp_path / "m.pt", tmp_path / "new.pt"
    root = state if key is None else {key: state, "epoch": 2}
    torch.save(root, path, _use_new_zipfile_serialization=not legacy)
    injector, _ = expanded(path, attributes, out)
    wider = Net(SEEN + UNSEEN)
    new = load(out)
    WRAPS[prefix](wider).load_state_dict(new if key is None else new[key], strict=True)
    kind = f"{key or 'bare'}, {'legacy' if legacy else 'zip'}"
    compatibility.add(
        GROUP, f"{prefix or 'no prefix'} ({kind})", ".pt", found=f"{prefix}fc", loads=True,
        agrees=agrees(model, wider, injector),
    )  # fmt: skip


def test_two_copies_under_two_prefixes_are_refused(tmp_path):
    state = Net().state_dict()
    both = {**state, **{f"module.{key}": value * 2 for key, value in state.items()}}
    torch.save(both, tmp_path / "m.pt")
    with pytest.raises(HeadError, match=r"fc .*module\.fc"):
        find_head(open_checkpoint(tmp_path / "m.pt"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_heads_of_other_dtypes(tmp_path, attributes, compatibility, dtype):
    model = Net().to(dtype)
    path, out = tmp_path / "m.pt", tmp_path / "new.pt"
    torch.save({"state_dict": model.state_dict()}, path)
    injector, _ = expanded(path, attributes, out)
    wider = Net(SEEN + UNSEEN).to(dtype)
    new = load(out)["state_dict"]
    wider.load_state_dict(new, strict=True)
    assert {tensor.dtype for tensor in new.values() if tensor.is_floating_point()} == {dtype}
    assert torch.equal(new["fc.weight"][:SEEN], model.fc.weight)
    rows = torch.from_numpy(injector.predict(injector.unseen_descriptors)).to(dtype)
    assert torch.equal(new["fc.weight"][SEEN:], rows[:, :-1])
    name = str(dtype).removeprefix("torch.")
    compatibility.add(GROUP, f"{name} head", ".pt", found="fc", loads=True, agrees=True)


def test_strides_and_gradients(tmp_path, attributes, compatibility):
    """A head may lie transposed, in the midst of other values, and be a parameter."""
    model = Net()
    state: dict[str, torch.Tensor] = dict(model.state_dict())
    state["fc.weight"] = model.fc.weight.detach().T.contiguous().T
    state["fc.bias"] = torch.nn.Parameter(torch.cat([torch.ones(5), model.fc.bias.detach()])[5:])
    assert not state["fc.weight"].is_contiguous()
    path, out = tmp_path / "m.pt", tmp_path / "new.pt"
    torch.save(state, path)
    injector, _ = expanded(path, attributes, out)
    new = load(out)
    assert new["fc.bias"].requires_grad
    wider = Net(SEEN + UNSEEN)
    wider.load_state_dict(new, strict=True)
    compatibility.add(
        GROUP, "not contiguous", ".pt", found="fc", loads=True,
        agrees=agrees(model, wider, injector),
    )  # fmt: skip


class Tied(Net):
    """The head is also known under another name, as prototypes are."""

    def __init__(self, classes: int = SEEN) -> None:
        super().__init__(classes)
        self.prototypes = torch.nn.Embedding(classes, WIDTH)
        self.prototypes.weight = self.fc.weight


def test_tensors_that_are_one_stay_one(tmp_path, attributes, compatibility):
    model = Tied()
    path, out = tmp_path / "m.pt", tmp_path / "new.pt"
    torch.save(model.state_dict(), path)
    injector, _ = expanded(path, attributes, out, head="fc")
    new = load(out)
    assert new["prototypes.weight"].data_ptr() == new["fc.weight"].data_ptr()
    assert new["prototypes.weight"].shape == (SEEN + UNSEEN, WIDTH)
    wider = Tied(SEEN + UNSEEN)
    wider.load_state_dict(new, strict=True)
    compatibility.add(
        GROUP, "tied to another name (--head fc)", ".pt", found="fc", loads=True,
        agrees=agrees(model, wider, injector),
    )  # fmt: skip
    checkpoint = open_checkpoint(path)
    there = expand(checkpoint, injector, calibration="none")
    assert any("'prototypes.weight'" in loss for loss in there.losses(tmp_path / "n.safetensors"))


@pytest.mark.parametrize("where", ["optimizer_g", "swa", "callbacks"])
def test_old_values_deep_in_entries_of_any_name_are_left_out(tmp_path, attributes, where):
    model = Net()
    optimizer = trained(model).state_dict()
    entry = {
        "optimizer_g": [optimizer],
        "swa": {"state_dict": model.state_dict(), "decay": 0.9},
        "callbacks": {"EMA": {"weights": [{"state": model.state_dict()}]}},
    }[where]
    loop: dict[str, Any] = {"loss": [1.0, 0.5], "counts": torch.ones(SEEN)}
    loop["itself"] = loop
    root = {"model": model.state_dict(), where: entry, "history": loop}
    torch.save(root, tmp_path / "m.pt")
    _, notes = expanded(tmp_path / "m.pt", attributes, tmp_path / "new.pt")
    assert notes[1].startswith(f"'{where}' belongs to the old head")
    assert sorted(load(tmp_path / "new.pt")) == ["history", "model"]


def test_options_within_themselves_end(tmp_path, attributes):
    args: dict[str, Any] = {"num_classes": SEEN}
    for number in range(30):
        args[f"again {number}"] = args
    torch.save({"model": Net().state_dict(), "args": args}, tmp_path / "m.pt")
    expanded(tmp_path / "m.pt", attributes, tmp_path / "new.pt")
    assert load(tmp_path / "new.pt")["args"]["num_classes"] == SEEN + UNSEEN


def test_auxiliary_heads_are_left_out_of_a_wrapped_checkpoint(tmp_path, attributes):
    kept = {  # what tells of Inception v3
        "Conv2d_1a_3x3.conv.weight": torch.ones(2, 3, 3, 3),
        "Mixed_5b.branch1x1.conv.weight": torch.ones(2, 2, 1, 1),
        "fc.weight": torch.randn(SEEN, WIDTH),
        "note": "text",
    }
    state = {**kept, "AuxLogits.fc.weight": torch.ones(SEEN, 2)}
    torch.save({"model": state}, tmp_path / "m.pt")
    checkpoint = open_checkpoint(tmp_path / "m.pt")
    head = find_head(checkpoint)
    injector = fit(checkpoint, head, align(head.rows, read_descriptors(attributes)), Ridge())
    expand(checkpoint, injector, auxiliary="drop").write(tmp_path / "new.pt")
    assert list(load(tmp_path / "new.pt")["model"]) == list(kept)


# What is no checkpoint


def write_exported(path: Path) -> None:
    program = torch.export.export(torch.nn.Linear(3, 4), (torch.ones(1, 3),))
    torch.export.save(program, path)


def write_script(path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(3, 4), torch.ones(1, 3)).save(str(path))


def write_module(path: Path) -> None:
    torch.save(torch.nn.Linear(3, 4), path)


def write_quantised(path: Path) -> None:
    model = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(3, 4)))
    torch.save(model.state_dict(), path)


def write_zip(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x")

    return write


def write_bytes(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data + bytes(100))

    return write


def write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["kernel"] = np.ones((3, 4))


OTHERS: tuple[tuple[str, Callable[[Path], None], str, str], ...] = (
    ("m.pt2", write_exported, "is a program made by torch.export (.pt2)", "torch.export.load("),
    ("m.pt", write_script, "is a TorchScript archive, not a state dict", "torch.jit.load("),
    ("m.pth", write_module, "(torch.nn.modules.linear.Linear), expected a", "model.state_dict()"),
    ("q.pt", write_quantised, "is quantised, expected a dense unquantised", "before quantisation"),
    ("m.h5", write_hdf5, "is an HDF5 file (as Keras writes .h5)", "PyTorch version"),
    ("m.keras", write_zip("model.weights.h5"), "is a Keras model", "PyTorch version"),
    ("m.npz", write_zip("params/head.npy"), "is an archive of numpy arrays", "PyTorch version"),
    ("m.zip", write_zip("run/best.pth"), "is a zip archive with a checkpoint in it", "unpack it"),
    ("m.msgpack", write_bytes(b"\x81\xa6params\x81"), "is a msgpack file", "PyTorch version"),
    ("m.gguf", write_bytes(b"GGUF\x03\0\0\0"), "is a GGUF file", "that it was made from"),
    ("m.tflite", write_bytes(b"\x1c\0\0\0TFL3"), "is a TensorFlow Lite model", "PyTorch version"),
    ("m.pth", write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS", "git lfs"),
    ("m.pth", write_bytes(b"<!DOCTYPE html><html>"), "is a web page", "download the file itself"),
    ("m.pth.gz", write_bytes(b"\x1f\x8b\x08"), "is compressed with gzip", "unpack it first"),
    ("m.npy", write_bytes(b"\x93NUMPY\x01\0"), "is a numpy array", "descriptors as --attrs"),
)


@pytest.mark.filterwarnings("ignore:.*(deprecated|reduce_range|torch.ao.quantization|jit)")
@pytest.mark.parametrize(("name", "write", "problem", "way_out"), OTHERS)
def test_other_files_are_refused_with_the_way_out(tmp_path, name, write, problem, way_out):
    path = tmp_path / name
    write(path)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert problem in caught.value.message
    assert way_out in caught.value.hint
    assert caught.value.message.isprintable()


def test_no_length_of_a_safetensors_header_is_taken_for_another_format(tmp_path):
    """The first bytes are a length: it may read as the start of a msgpack map."""
    path = tmp_path / "m.safetensors"
    for length in (0xA288, 0xA681):
        entry = '{"fc.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
        header = entry.ljust(length).encode()
        path.write_bytes(struct.pack("<Q", length) + header + bytes(16))
        assert list(open_checkpoint(path).tensors) == ["fc.weight"]


@pytest.mark.parametrize("kind", [int, str])
@pytest.mark.parametrize("key", ["names", "idx_to_class", "id2label"])
def test_rows_to_names_follow_the_head(tmp_path, key, kind):
    state = {"fc.weight": torch.randn(4, 6), "fc.bias": torch.zeros(4)}
    names = {kind(row): f"class {row}" for row in range(4)}
    torch.save({"model": state, key: names, "other": {kind(0): "a"}}, tmp_path / "m.pt")
    checkpoint = open_checkpoint(tmp_path / "m.pt")
    assert checkpoint.labels.class_names == tuple(names.values())
    attrs = tmp_path / "d.csv"
    random = np.random.default_rng(0)
    rows = [*reversed(names.values()), "new"]
    attrs.write_text("".join(f"{n},{random.random()},{random.random()}\n" for n in rows))
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors(attrs), head_names=checkpoint.labels.class_names)
    expand(checkpoint, fit(checkpoint, head, classes, Ridge())).write(tmp_path / "new.pt")
    new = torch.load(tmp_path / "new.pt", weights_only=True)
    assert new[key] == {**names, kind(4): "new"}
    assert new["other"] == {kind(0): "a"}
    remove(open_checkpoint(tmp_path / "new.pt")).write(tmp_path / "back.pt")
    assert torch.load(tmp_path / "back.pt", weights_only=True)[key] == names
