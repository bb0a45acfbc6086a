"""The HTML report in a real browser: chromium without a window, driven by selenium."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from icis_cli import Injector, expand, open_checkpoint, planned_report, write_html
from icis_cli.html.data import Example, Picture

from .test_report import NASTY, Case, case, nasty  # noqa: F401 - fixtures

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # the sandbox refuses root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(nasty: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    path = tmp_path_factory.mktemp("page") / "report.html"
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(stream, "JPEG")
    pictures = tuple(Picture(name, stream.getvalue()) for name in NASTY[:3])
    examples = tuple(Example(name, NASTY[0], pictures) for name in NASTY)
    write_html(replace(nasty.report(), examples=examples), path)
    return path


@pytest.fixture(scope="module")
def planned(nasty: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The page that ``icis fit --report`` writes."""
    path = tmp_path_factory.mktemp("planned") / "report.html"
    injector = Injector.load(nasty.new.parent / "injector.safetensors")
    plan = expand(open_checkpoint(nasty.new.parent / "old.safetensors"), injector)
    write_html(planned_report(plan, injector), path)
    return path


def show(browser: Any, page: Path, *, width: int = 1100, scheme: str = "light") -> None:
    """Open the page on a screen so wide, by a person who likes it light or dark."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wish = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wish})
    browser.get(page.as_uri())


def column(browser: Any, number: int) -> list[str]:
    """Return the cells of a column of the table of classes, as far as they are shown."""
    script = (
        "return [...document.querySelectorAll('#classes tbody tr')].filter(row => !row.hidden)"
        ".map(row => row.cells[arguments[0]].textContent)"
    )
    return list(browser.execute_script(script, number))


def place(browser: Any, title: str) -> int:
    """Return the number of the column with this head."""
    heads = browser.find_elements("css selector", "#classes thead th")
    return [str(head.text) for head in heads].index(title)


def press(browser: Any, number: int) -> str:
    """Press the head of a column; return how the table says it is sorted."""
    head = browser.find_elements("css selector", "#classes thead th")[number]
    head.find_element("tag name", "button").click()
    return str(head.get_attribute("aria-sort"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("which", ["page", "planned"])
def test_it_shows_without_a_complaint_and_loads_nothing(browser, which, width, scheme, request):
    show(browser, request.getfixturevalue(which), width=width, scheme=scheme)
    assert browser.get_log("browser") == []
    # What is in the page itself is no matter of the network.
    loaded = (
        "return performance.getEntriesByType('resource').map(one => one.name)"
        ".filter(name => !name.startsWith('data:'))"
    )
    assert browser.execute_script(loaded) == []
    assert browser.execute_script("return document.scripts.length") == 1
    # Nothing is wider than the screen but tables, which scroll for themselves.
    inside = "return document.documentElement.scrollWidth <= window.innerWidth"
    assert browser.execute_script(inside)
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
    for figure in browser.find_elements("css selector", "svg"):
        assert figure.size["width"] > 0.8 * min(width, 600) - 40
        assert figure.size["height"] > 100


def test_the_table_sorts_by_number_both_ways(browser, page):
    show(browser, page)
    number = place(browser, "length")
    assert press(browser, number) == "ascending"
    rising = [float(cell) for cell in column(browser, number)]
    assert len(rising) == 46
    assert rising == sorted(rising)
    assert press(browser, number) == "descending"
    assert [float(cell) for cell in column(browser, number)] == sorted(rising, reverse=True)


@pytest.mark.parametrize("presses", [1, 2])
def test_empty_cells_come_last_either_way(browser, page, presses):
    show(browser, page)
    for _ in range(presses):
        press(browser, place(browser, "surer than"))  # known of new classes alone
    cells = column(browser, place(browser, "surer than"))
    assert all(cells[:6])
    assert not any(cells[6:])


def test_the_table_sorts_by_name(browser, page):
    show(browser, page)
    press(browser, 0)
    names = [name for name in column(browser, 0) if name.startswith("kind")]
    assert names[:4] == ["kind a0", "kind a1", "kind a2", "kind a3"]  # 2 before 10
    assert names.index("kind a10") > names.index("kind a2")


def test_the_table_can_be_searched(browser, page):
    show(browser, page)
    field = browser.find_element("css selector", "input[type=search]")
    field.send_keys("<SCRIPT>")
    found = zip(column(browser, 0), column(browser, place(browser, "most like")), strict=True)
    assert all("<script>" in name + like for name, like in found)
    assert NASTY[0] in column(browser, 0)
    shown = len(column(browser, 0))
    assert 0 < shown < 46
    count = browser.find_element("css selector", ".search output")
    assert count.text == f"{shown} of 46"
    field.clear()
    field.send_keys("no such class")
    assert column(browser, 0) == []
    assert count.text == "0 of 46"


def test_the_map_tells_names(browser, page):
    show(browser, page)
    mark = "document.querySelectorAll('svg.map .new')[0]"
    browser.execute_script(f"{mark}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    told = browser.find_element("css selector", ".told").text
    assert told == browser.execute_script(f"return {mark}.querySelector('title').textContent")
    assert told.endswith("(new)")


def test_images_of_confusions_are_shown(browser, page):
    show(browser, page, width=390)
    sizes = browser.execute_script(
        "return [...document.images].map(one => [one.naturalWidth, one.naturalHeight, one.width])"
    )
    assert len(sizes) == 3 * len(NASTY)
    assert all(size[:2] == [40, 30] and size[2] > 60 for size in sizes)
    captions = browser.find_elements("css selector", "figcaption")
    assert captions[1].text.startswith(NASTY[1])
    assert browser.execute_script("return document.images[1].alt") == NASTY[1]


def test_it_can_be_read_without_its_script(browser, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, page)
        table = browser.find_element("id", "classes")
        assert "kind a0" in table.text
        assert not browser.find_element("css selector", ".search").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
