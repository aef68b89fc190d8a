"""The page in a real browser, at the widths of a phone and of a laptop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_files import written
from shown_images import FAST, MADE, image

from mflux_teacache.report.files import sections_of
from mflux_teacache.report.page import rendered

pytestmark = pytest.mark.slow

WIDTHS = (390, 1280)
EVIL = "<img src=x onerror=document.title='evil'>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    full = image(folder, "full.png", MADE, side=64)
    fast = image(folder, "fast.png", {**FAST, "prompt": EVIL}, shade=120, side=64)
    path = folder / "report.html"
    path.write_text(rendered("A report", sections_of([full, fast, *written(folder)]), "mflux-teacache-plugin"))
    return path


class Opened:
    """The page, opened.

    Attributes:
        said: on the browser's console, such as errors and what the page's own policy refuses.
        asked: addresses that the browser has asked for, but for those within the page.
    """

    def __init__(self, browser: Any, path: Path, *, width: int, script: bool = True) -> None:
        self.view = browser.new_page(viewport={"width": width, "height": 844}, java_script_enabled=script)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.view.on("console", lambda message: self.said.append(message.text))
        self.view.on("pageerror", lambda error: self.said.append(str(error)))
        self.view.on("request", lambda request: self.asked.append(request.url))
        self.view.goto(path.as_uri())
        self.asked = [url for url in self.asked if not url.startswith("data:")]


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_its_images_are_there_and_nothing_else_is_asked_for(browser: Any, page: Path, width: int) -> None:
    opened = Opened(browser, page, width=width)
    assert opened.view.evaluate("document.documentElement.scrollWidth") == width
    images = opened.view.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(images) == 3 + 8  # the two images and their difference; seven sections with a chart, and one with two
    assert min(images) > 0
    assert opened.asked == [page.as_uri()]
    assert opened.said == []
    assert opened.view.title() == "A report"  # what a prompt has in it is text
    assert EVIL in opened.view.locator("dl").first.inner_text()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_slider_uncovers_one_image_or_the_other(browser: Any, page: Path, width: int) -> None:
    view = Opened(browser, page, width=width).view
    slider, fast = view.locator(".compare input"), view.locator(".compare .fast img")
    view.locator(".compare").scroll_into_view_if_needed()
    boxes = [view.locator(f".compare .{name} img").bounding_box() for name in ("full", "fast")]
    assert boxes[0] == boxes[1]

    def cut() -> str:
        return fast.evaluate("image => getComputedStyle(image).clipPath")

    assert cut() == "inset(0px 0px 0px 50%)"
    slider.focus()
    view.keyboard.press("Home")
    assert cut() == "inset(0px 0px 0px 0%)"
    # Dragged on the images themselves, to a quarter of their width.
    box = boxes[0]
    view.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    view.mouse.down()
    view.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    view.mouse.up()
    assert cut() == "inset(0px 0px 0px 25%)"
    assert slider.input_value() == "25"


@pytest.mark.parametrize("width", WIDTHS)
def test_without_javascript_both_images_stand_side_by_side(browser: Any, page: Path, width: int) -> None:
    opened = Opened(browser, page, width=width, script=False)
    assert opened.view.locator(".compare input").count() == 0
    full, fast = (opened.view.locator(f".compare .{name} img").bounding_box() for name in ("full", "fast"))
    assert full["y"] == fast["y"]
    assert full["x"] + full["width"] < fast["x"]
    assert opened.view.locator("table").count() >= 4
    assert opened.view.locator("details").first.is_visible()


def test_on_a_phone_charts_and_tables_are_moved_sideways_and_stay_readable(browser: Any, page: Path) -> None:
    view = Opened(browser, page, width=390).view
    chart = view.locator(".chart img").first.bounding_box()
    assert chart["width"] >= 500
    widths = view.evaluate("[...document.querySelectorAll('.wide')].map(box => box.clientWidth)")
    assert max(widths) <= 390
