"""``icis report``: what an HTML report holds, and that names from files stay text in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from icis_cli import (
    Head,
    Injector,
    KnownHead,
    Report,
    Ridge,
    align,
    evaluate_features,
    expand,
    find_head,
    fit,
    known_head,
    open_checkpoint,
    read_descriptors,
    read_features,
    report_of,
    write_html,
)
from icis_cli.errors import CheckpointError, InjectorError, OutputError
from icis_cli.html import gathering
from icis_cli.html.data import Point
from icis_cli.html.figures import row_map
from icis_cli.html.rows import map_of

from .conftest import World, icis
from .records import sha256

NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</style></svg></table>&amp;'`",
    "right\u202eleft\x07",
    "x" * 5000,
    "https://example.org/a_b",
)

#: Where a page says what a browser may do with it.
POLICY = ("meta", "content")


@dataclass(frozen=True)
class Case:
    """A checkpoint with 6 new classes, the injector of them, and samples of all classes."""

    new: Path
    injector: Injector
    features: Path

    def report(self, *, bare: bool = False) -> Report:
        checkpoint = open_checkpoint(self.new)
        known = known_head(checkpoint)
        if bare:
            return report_of(checkpoint, known)
        evaluation = evaluate_features(known, read_features(self.features))
        return report_of(checkpoint, known, self.injector, evaluation)


def html_of(report: Report) -> str:
    """Return the page as it is written."""
    with TemporaryDirectory() as folder:
        write_html(report, Path(folder) / "page.html")
        return (Path(folder) / "page.html").read_text(encoding="utf-8")


def make(folder: Path, world: World) -> Case:
    """Inject the new classes of a world, with held-out rows and a training curve."""
    old = folder / "old.safetensors"
    save_file(world.state(), old)
    np.savez(folder / "attrs.npz", values=world.descriptors, names=np.array(world.names))
    checkpoint = open_checkpoint(old)
    head = find_head(checkpoint)
    classes = align(head.rows, read_descriptors(folder / "attrs.npz"))
    made = fit(checkpoint, head, classes, Ridge())
    made = replace(made, losses=(3.0, 1.0, 0.5), stopped="all 3 epochs done")
    made.save(folder / "injector.safetensors")
    injector = Injector.load(folder / "injector.safetensors")
    expand(checkpoint, injector).write(folder / "new.safetensors")
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(len(world.names)), 5)
    samples = world.rows[labels, :-1] + 0.5 * generator.standard_normal((len(labels), 24))
    np.savez(folder / "test.npz", features=samples.astype(np.float32), labels=labels)
    return Case(folder / "new.safetensors", injector, folder / "test.npz")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, world: World) -> Case:
    return make(tmp_path_factory.mktemp("report"), world)


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory, world: World) -> Case:
    names = (*world.names[:38], *(f"seen {name}" for name in NASTY[:2]), *NASTY)
    return make(tmp_path_factory.mktemp("nasty"), replace(world, names=names))


class Parsed(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.texts.append(data)


def test_a_report_holds_what_the_files_say(case, world):
    report = case.report()
    assert (report.subject.seen, report.subject.new, report.subject.head) == (40, 6, "fc")
    assert report.subject.sha256 == sha256(case.new)
    assert report.record is not None
    recorded = report.record.rounds[0].standing
    new = sorted(report.new_classes, key=lambda line: line.row)
    assert [line.name for line in new] == list(world.names[40:])
    assert [line.standing for line in new] == list(recorded)
    width = 24
    before = np.linalg.norm(
        case.injector.predict(case.injector.unseen_descriptors)[:, :width], axis=1
    )
    after = np.linalg.norm(open_checkpoint(case.new).array("fc.weight")[40:], axis=1)
    assert [line.before for line in new] == pytest.approx(before.tolist())
    assert [line.after for line in new] == pytest.approx(after.tolist())
    assert all(line.like in world.names[:40] and line.cosine is not None for line in new)
    assert [line.standing for line in report.new_classes] == sorted(recorded)
    assert len(report.points) == 46
    assert {point.kind for point in report.points} == {"seen", "new"}
    assert report.source is not None
    assert report.source.losses == (3.0, 1.0, 0.5)
    assert report.missing == ()
    assert report.left_out == 0


def test_results_stand_at_their_classes(case):
    report = case.report()
    assert report.evaluation is not None
    expected = {one.name: (one.samples, one.top1) for one in report.evaluation.classes}
    assert {line.name: (line.samples, line.top1) for line in report.classes} == expected
    assert len(expected) == 46


def test_the_heat_map_has_the_rows_that_are_most_alike(case):
    weight = open_checkpoint(case.new).array("fc.weight")
    middle = weight[:40].mean(axis=0)
    away = (weight - middle) / np.linalg.norm(weight - middle, axis=1, keepdims=True)
    report = case.report()
    for line in report.likeness:
        row = next(one.row for one in report.classes if one.name == line.name)
        cosines = np.sort(away[:40] @ away[row])[::-1]
        assert [cosine for _, cosine in line.nearest] == pytest.approx(cosines[:5].tolist())


def test_the_map_keeps_distances_where_two_dimensions_suffice():
    generator = np.random.default_rng(0)
    flat = generator.standard_normal((9, 2)) @ np.linalg.qr(generator.standard_normal((7, 2)))[0].T
    weight = flat.astype(np.float32)
    known = KnownHead(Head("fc", weight, None, "F32", ""), tuple("abcdefghi"), 6, None)
    points = map_of(known, np.arange(6, 9))
    places = np.array([[point.x, point.y] for point in points])
    for rows in (weight, places):
        distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
        assert distances == pytest.approx(
            np.linalg.norm(weight[:, None] - weight[None], axis=2), abs=1e-5
        )
    assert [point.kind for point in points] == ["seen"] * 6 + ["new"] * 3
    assert np.ptp(places[:, 0]) > 0


def test_what_is_missing_is_told_with_what_would_add_it(case):
    report = case.report(bare=True)
    page = html_of(report)
    samples = "icis report new.safetensors --features F.npz, or --images DIR"
    assert [how for _, how in report.missing].count(samples) == 1
    assert "--injector FILE" in page
    assert "--features F.npz" in page
    for title in ("Training", "Accuracy", "Worst confusions", "How good predicted rows are"):
        assert f"<h2>{title}</h2>" in html_of(case.report())
        assert f"<h2>{title}</h2>" not in page


def test_the_top_says_how_good_the_new_rows_are(case):
    """Samples are the last word; without them held-out classes, and without these nothing."""
    measured, bare = case.report(), case.report(bare=True)
    checkpoint = open_checkpoint(case.new)
    untested = report_of(checkpoint, known_head(checkpoint), case.injector)
    assert measured.verdict.headline.startswith("Measured")
    assert measured.expected is None
    assert untested.verdict.headline.startswith("Untested, but promising")
    assert untested.expected is not None
    assert bare.verdict.headline.startswith("Untested and doubtful")
    for report in (measured, untested, bare):
        page = html_of(report)
        header = page[page.index("<header>") : page.index("</header>")]
        assert f'class="verdict {report.verdict.step}"' in header
        assert report.verdict.headline in header
    assert f"{untested.expected.sentence()}." in html_of(untested)
    assert "lost are" in html_of(measured)
    assert f"{100 * measured.evaluation.lost:.1f} points lost" in html_of(measured)


def test_a_new_class_described_like_a_known_one_is_named(tmp_path, world):
    descriptors = world.descriptors.copy()
    descriptors[42] = descriptors[7]
    case = make(tmp_path, replace(world, descriptors=descriptors))
    report = case.report()
    first = report.new_classes[0]
    assert (first.name, first.twin) == (world.names[42], world.names[7])
    assert [line.twin for line in report.new_classes[1:]] == [None] * 5
    page = html_of(report)
    assert f"will take: {first.name} like {first.twin}." in page
    line = re.search(f'<tr><th>{first.name}</th><td class="number".*</tr>', page)
    assert line is not None
    assert line[0].count(" %</td>") == 2  # how often it is right, but not how sure it is


def test_settings_tell_of_the_epochs_that_there_were(case):
    report = case.report()
    assert report.record is not None
    last = replace(report.record.rounds[0], settings={"epochs": 1, "other": 2})
    told = replace(report, record=replace(report.record, rounds=(last,)))
    assert "<dd>epochs 3, other 2</dd>" in html_of(told)
    assert "<dd>epochs 1, other 2</dd>" in html_of(replace(told, source=None))


def test_new_classes_are_named_on_the_map_where_there_is_room():
    points = [Point(name, "new", 4.5, 4.5) for name in ("left", "right", "nowhere")]
    page = row_map([*points, Point("a long long long name", "new", 9, 9), Point("s", "seen", 0, 0)])
    assert re.findall(r'<text class="name".*?>(.*?)</text>', page) == [
        "left", "right", "a long long long …",
    ]  # fmt: skip
    many = [Point(f"n{at}", "new", at, at) for at in range(31)]
    assert 'class="name"' not in row_map(many)


def test_samples_of_one_side_alone_make_a_report(case, tmp_path):
    with np.load(case.features) as stored:
        np.savez(tmp_path / "few.npz", features=stored["features"][:9], labels=stored["labels"][:9])
    page = html_of(replace(case, features=tmp_path / "few.npz").report())
    assert "unknown" in page
    assert "nan" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL).lower()


def test_an_injector_of_other_rows_is_refused(case, tmp_path, world):
    shuffled = replace(world, descriptors=world.descriptors[::-1].copy())
    other = make(tmp_path, shuffled)
    with pytest.raises(InjectorError, match="none of its rows was made with this injector"):
        replace(case, injector=other.injector).report()


def test_names_from_files_stay_text(nasty):
    page = html_of(nasty.report())
    parsed = Parsed(page)
    assert parsed.tags.count("script") == parsed.tags.count("style") == 1
    assert not {"img", "link", "iframe", "a", "base", "object"} & set(parsed.tags)
    for _, name, _ in parsed.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href", "style", "action", "srcset")
    text = "".join(parsed.texts)
    assert NASTY[0] in text
    assert NASTY[1] in text
    assert NASTY[2] in text
    assert "right\\x202eleft\\x07" in text
    assert "\u202e" not in page
    assert "x" * 100 not in page


def test_nothing_is_loaded_from_anywhere_and_the_policy_fits(nasty):
    page = html_of(nasty.report())
    policy = "".join(
        value or "" for tag, name, value in Parsed(page).attributes if (tag, name) == POLICY
    )
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        for word in ("http", "url(", "@import", "fetch", "import(", "innerHTML", "eval"):
            assert word not in inside


def test_the_same_input_gives_the_same_bytes_and_nothing_is_overwritten(case, tmp_path):
    write_html(case.report(), tmp_path / "a.html")
    write_html(case.report(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_html(case.report(bare=True), tmp_path / "a.html")
    write_html(case.report(bare=True), tmp_path / "a.html", force=True)
    assert (tmp_path / "a.html").read_bytes() != (tmp_path / "b.html").read_bytes()


def test_of_very_many_classes_the_least_sure_are_shown(case, monkeypatch):
    whole = case.report()
    monkeypatch.setattr(gathering, "_MOST_LINES", 3)
    report = case.report()
    assert report.new_classes == whole.new_classes[:3]
    assert len(report.classes) == 6
    assert report.left_out == 40
    assert "40 more classes are left out" in html_of(report)


@pytest.mark.parametrize(
    ("entry", "value"),
    [("settings", [1]), ("calibration", "1"), ("standing", ["a"] * 6), ("descriptor_rows", [[]])],
)
def test_a_damaged_record_is_told(case, tmp_path, entry, value):
    record = json.loads(Path(f"{case.new}.icis.json").read_text())
    record["rounds"][0][entry] = value
    checkpoint = replace(
        open_checkpoint(case.new), metadata={"icis": json.dumps(record, ensure_ascii=False)}
    )
    with pytest.raises(CheckpointError, match=r"new\.safetensors: its icis record is damaged"):
        report_of(checkpoint, known_head(open_checkpoint(case.new)))


def test_the_command_finds_the_injector_and_says_what_it_wrote(case, tmp_path):
    folder = case.new.parent
    out = tmp_path / "out.html"
    done = icis(
        "report", "new.safetensors", "--features", "test.npz", "--out", out, "--json", cwd=folder
    )
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed.pop("verdict") == case.report().verdict.to_json()
    assert printed == {
        "schema_version": 1,
        "command": "report",
        "out": str(out),
        "weights": "new.safetensors",
        "seen_classes": 40,
        "new_classes": 6,
        "missing": [],
    }
    assert out.read_text(encoding="utf-8") == html_of(case.report())


def test_the_command_writes_beside_the_checkpoint_and_never_over_anything(case, tmp_path):
    for name in ("new.safetensors", "new.safetensors.icis.json"):
        (tmp_path / name).write_bytes((case.new.parent / name).read_bytes())
    done = icis("report", "new.safetensors", "-q", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "new.safetensors.report.html\n", "")
    again = icis("report", "new.safetensors", cwd=tmp_path)
    assert again.code == 1
    assert "exists already" in again.err
    for own in ("new.safetensors", "new.safetensors.icis.json"):
        refused = icis("report", "new.safetensors", "--out", own, "--force", cwd=tmp_path)
        assert refused.code == 1
        assert "the output is the input itself" in refused.err
    assert icis("report", "new.safetensors", "--labels", "l.txt", cwd=tmp_path).code == 2


def test_without_a_record_names_or_the_injector_tell_which_rows_are_new(case, tmp_path, world):
    stored = open_checkpoint(case.new)
    state = {key: stored.array(key) for key in ("fc.weight", "fc.bias")}
    save_arrays(state, tmp_path / "bare.safetensors")
    (tmp_path / "all.txt").write_text("\n".join(world.names) + "\n")
    (tmp_path / "new.txt").write_text("\n".join(world.names[40:]) + "\n")
    made = case.new.parent / "injector.safetensors"
    by_names = ("--classes", "all.txt", "--unseen", "new.txt")
    for number, arguments in enumerate((by_names, ("--injector", made))):
        out = f"{number}.html"
        done = icis("report", "bare.safetensors", *arguments, "--out", out, "--json", cwd=tmp_path)
        assert done.code == 0, done.err
        assert json.loads(done.out)["new_classes"] == 6
    assert "Training" in (tmp_path / "1.html").read_text(encoding="utf-8")
    names = ["other", *world.names[1:]]
    known = known_head(
        open_checkpoint(tmp_path / "bare.safetensors"), names=names, unseen=names[40:]
    )
    with pytest.raises(InjectorError, match="as far as can be told"):
        report_of(open_checkpoint(tmp_path / "bare.safetensors"), known, case.injector)
