"""The package as it is shipped: what wheel and sdist hold, and a wheel installed by itself."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from safetensors.torch import save_file

import icis_cli

ROOT = Path(icis_cli.__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="the package is installed without its sources"
)
pytest.importorskip("hatchling", reason="builds the package")


def build(target: str, folder: Path, cwd: Path = ROOT, umask: int = 0o022) -> Path:
    """Build a distribution; the only file in ``folder`` afterwards."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"},
        umask=umask,
        check=True,
        capture_output=True,
    )
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    return build("sdist", tmp_path_factory.mktemp("sdist"))


def test_the_wheel_is_the_same_every_time(wheel, tmp_path):
    again = build("wheel", tmp_path, umask=0o077)
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_the_sdist_makes_the_same_wheel_and_holds_what_tests_need(wheel, sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    for name in (
        "README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "LICENSE", "Makefile",
        "mkdocs.yml", "tests/conftest.py", "schemas/fit.schema.json", "docs/method.md",
        "examples/imagenet/NOTICE", "requirements/ci.txt", "benchmarks/run.py",
    ):  # fmt: skip
        assert (root / name).is_file(), name
    again = build("wheel", tmp_path / "dist", cwd=root)
    assert again.read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(info))
        points = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
    assert {name.split("/")[0] for name in names} == {"icis_cli", info.split("/")[0]}
    assert "icis_cli/py.typed" in names
    assert "icis_cli/demo/descriptors.npz" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", "~"))]
    assert metadata["Name"] == "icis-cli"
    assert metadata["Version"] == icis_cli.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# icis")  # type: ignore[union-attr]
    extras = set(metadata.get_all("Provides-Extra") or ())
    assert extras >= {"demo", "hf", "mat", "onnx", "parquet", "text", "timm"}
    assert points.split() == ["[console_scripts]", "icis", "=", "icis_cli.cli.main:main"]


def test_an_installed_wheel_works_in_an_environment_of_its_own(
    wheel, folder, tmp_path, world, monkeypatch
):
    """The libraries it needs are lent from here: to install them takes gigabytes."""
    monkeypatch.delenv("PYTHONPATH", raising=False)  # may name the sources
    save_file(world.state(), folder / "model.safetensors")  # this spares the import of torch
    fit = ["fit", "--weights", "model.safetensors", "--attrs", "attrs.csv", "--method", "ridge"]
    home = tmp_path / "env"
    venv.create(home, with_pip=False, symlinks=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", home / "bin/python", "install", "--quiet",
         "--no-index", "--no-deps", "--disable-pip-version-check", wheel],
        check=True,
    )  # fmt: skip
    (site,) = home.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    place = subprocess.run(
        [home / "bin/python", "-P", "-c", "import icis_cli; print(icis_cli.__file__)"],
        check=True, capture_output=True, text=True, cwd=folder,
    ).stdout  # fmt: skip
    assert Path(place.strip()).is_relative_to(site)
    icis = home / "bin/icis"
    for command in (
        ["--version"],
        [*fit, "--quiet"],
        ["inject", "--out", "new.safetensors", "--quiet"],
        ["verify", "model.safetensors", "new.safetensors", "--quiet"],
    ):
        done = subprocess.run([icis, *command], cwd=folder, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert (folder / "new.safetensors.icis.json").is_file()
