"""The report's page in a real browser: its controls, its silence, light and dark, and in print."""

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.reporting.pages.content import Content
from kd_lightning.reporting.pages.curriculum import curriculum
from kd_lightning.reporting.pages.page import page as render
from kd_lightning.reporting.pages.page import render as of_content
from kd_lightning.runs.collections.reading import read
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED
from tests.reporting import told
from tests.reporting.test_report import interrupted, selected_run

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
LAPTOP = {"width": 1280, "height": 800}
WIDTH = "document.documentElement.scrollWidth"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(read([sweep])))
    return path


def show(browser: Any, path: Path, scheme: str = "light") -> tuple[Any, list[str]]:
    """The page opened, and whatever it says or asks for, to which more is added later."""
    opened = browser.new_context(viewport=LAPTOP, color_scheme=scheme, offline=True).new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: None if request.url == path.as_uri() else said.append(request.url))
    opened.goto(path.as_uri())
    drawn = "() => [...document.querySelectorAll('.figure')].every((figure) => figure.querySelector('svg.main-svg'))"
    opened.wait_for_function(drawn)
    return opened, said


@pytest.fixture(scope="module")
def laptop(browser: Any, report: Path) -> tuple[Any, list[str]]:
    """The sweep's page, once for all tests of its controls."""
    return show(browser, report)


def shown_runs(opened: Any) -> list[str]:
    found: list[str] = opened.locator("#runs tbody tr:visible td:first-child").all_inner_texts()
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_silent_and_alone_and_follows_the_scheme(browser: Any, report: Path, scheme: str) -> None:
    opened, said = show(browser, report, scheme)
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    text = opened.evaluate("getComputedStyle(document.querySelector('.figure .xtick text')).fill")
    assert (brightness(background) < 60) == (scheme == "dark")
    assert abs(brightness(background) - brightness(text)) > 90, "figures' text stands out from the page"
    assert opened.evaluate(WIDTH) <= LAPTOP["width"], "nothing is cut off at the side"
    assert said == []


def brightness(colour: str) -> float:
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3


def test_a_click_on_a_title_sorts(laptop: tuple[Any, list[str]]) -> None:
    opened, said = laptop
    title = opened.locator("#runs th", has_text="validation top-1 %")
    place = opened.locator("#runs th").all_inner_texts().index(title.inner_text()) + 1
    for direction, falling in (("descending", True), ("ascending", False)):
        title.get_by_role("button").click()
        assert title.get_attribute("aria-sort") == direction
        values = [float(text) for text in opened.locator(f"#runs tbody td:nth-child({place})").all_inner_texts()]
        assert len(values) == 16
        assert values == sorted(values, reverse=falling)
    opened.locator("#runs th", has_text="run").get_by_role("button").click()
    assert shown_runs(opened) in ([str(number) for number in range(16)], [str(number) for number in range(15, -1, -1)])
    assert said == []


def test_the_filter_keeps_runs_in_table_and_figures(laptop: tuple[Any, list[str]]) -> None:
    opened, said = laptop
    opened.locator("#runs").get_by_role("searchbox").fill("temperature=4 seed=0")
    kept = shown_runs(opened)
    assert len(kept) == 4
    assert opened.locator("#runs [role=status]").inner_text() == "4 of 16 rows"
    kept_in = "(figure) => figure.data.filter((line) => line.opacity > 0.1).map((line) => line.meta)"
    figures = f"[...document.querySelectorAll('#runs .figure')].map({kept_in})"
    for lines in opened.evaluate(figures):
        assert sorted(lines) == sorted(kept)
    opened.locator("#runs").get_by_role("searchbox").fill("temperature=9")
    assert shown_runs(opened) == []
    opened.locator("#runs").get_by_role("searchbox").fill("")
    assert len(shown_runs(opened)) == 16
    assert said == []


def test_the_heat_map_shows_any_two_parameters(laptop: tuple[Any, list[str]], sweep: Path) -> None:
    opened, said = laptop
    means = {
        tuple(one.choices.values()): 100 * sum(values) / len(values)
        for one in read([sweep]).configurations
        if (values := one.reached("top1_validation"))
    }
    controls = opened.locator("#heat-map .choices")
    controls.locator("select[name='loss.ce.weight']").select_option("0.1")
    map_ = opened.evaluate("(({x, y, z}) => ({x, y, z}))(document.querySelector('#heat-map .figure').data[0])")
    for row, alpha in zip(map_["z"], map_["y"], strict=True):
        assert row == pytest.approx([means[temperature, alpha, "0.1"] for temperature in map_["x"]])
    controls.locator("select[name='down']").select_option("loss.ce.weight")
    controls.locator("select[name='alpha']").select_option("0.9")
    map_ = opened.evaluate("(({x, y, z}) => ({x, y, z}))(document.querySelector('#heat-map .figure').data[0])")
    for row, rate in zip(map_["z"], map_["y"], strict=True):
        assert row == pytest.approx([means[temperature, "0.9", rate] for temperature in map_["x"]])
    controls.locator("select[name='across']").select_option("loss.ce.weight")
    assert controls.locator("select[name='down']").input_value() == "temperature", "the two change places"
    assert said == []


def test_the_selected_configuration_stands_out_beside_its_test_result(
    laptop: tuple[Any, list[str]], sweep: Path
) -> None:
    opened, _ = laptop
    selected = read([sweep]).selected
    assert selected is not None
    cards = opened.locator(".cards").inner_text()
    for metric in ("top1_validation", "top1"):
        values = selected.reached(metric)
        assert f"{100 * sum(values) / len(values):.2f} %" in cards
    assert "only those of this configuration were tested" in opened.locator("#comparison").inner_text()
    assert opened.locator("#runs tr.marked").count() == 2


def test_an_incomplete_sweep_opens_with_what_is_missing(browser: Any, sweep: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(read([interrupted(sweep, tmp_path / "cut")])))
    opened, said = show(browser, path)
    notice = opened.locator(".notice")
    assert notice.bounding_box()["y"] < LAPTOP["height"] / 3
    assert "12 of 16 runs have finished" in notice.inner_text()
    opened.locator("#runs").get_by_role("searchbox").fill("failed")
    assert shown_runs(opened) == ["3"]
    assert "OutOfMemoryError" in opened.locator("#runs tbody tr:visible").inner_text()
    assert said == []


def test_a_runs_page_is_silent_and_prints(browser: Any, sweep: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(read([selected_run(sweep, tmp_path)])))
    opened, said = show(browser, path)
    assert opened.locator(".figure").count() == 7
    for link in opened.locator("nav a").all():
        assert opened.locator(link.get_attribute("href")).count() == 1
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate(WIDTH) <= 390, "a phone scrolls wide figures by themselves, not the page"
    panels = opened.locator(".figure.wide")
    assert {panel.bounding_box()["width"] for panel in panels.all()} == {760}
    opened.set_viewport_size(LAPTOP)
    printed = opened.pdf(prefer_css_page_size=True)
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12
    assert opened.evaluate(WIDTH) <= LAPTOP["width"]
    assert said == []


def test_the_selected_value_of_one_parameter_is_marked(browser: Any, sweep: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    for job in ("0", "1", "8", "9"):  # temperature=1 and 4, two seeds each
        shutil.copytree(sweep / job, folder / job)
    record = {"selected": {"overrides": {"temperature": "4"}, "jobs": ["8", "9"], "validation": 0.5}, "jobs": 4}
    (folder / "sweep.json").write_text(json.dumps(record | {"finished": 4, "failed": 0}))
    path = tmp_path / "report.html"
    path.write_text(render(read([folder])))
    opened, said = show(browser, path)
    marked = "(({x, marker}) => x.filter((_, i) => marker.line.width[i] > 0))"
    assert opened.evaluate(f"{marked}(document.querySelector('#heat-map .figure').data[0])") == ["4"]
    assert said == []


@pytest.mark.parametrize(("count", "most"), [(10, 0), (100, 4)])
@pytest.mark.parametrize("kind", ["hierarchy", "branching"])
def test_names_of_a_knowledge_graph_can_be_read(browser: Any, tmp_path: Path, kind: str, count: int, most: int) -> None:
    """Of ten concepts no name covers another or a number, of a hundred hardly one."""
    graph = told.hierarchy(count // 5, 5) if kind == "hierarchy" else told.branching(count)
    run = told.write(tmp_path / "run", told.walk(told.concepts_of(graph), graph))
    path = tmp_path / "report.html"
    path.write_text(of_content(Content("run", "", [], curriculum(Run(run, "run", FINISHED, {})))))
    opened, said = show(browser, path)
    boxes = opened.evaluate(
        "() => [...document.querySelectorAll('#graph .textpoint')].map((one) => one.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) == 2 * count, "a name and a number for each"
    assert all(box["left"] >= 0 and box["right"] <= LAPTOP["width"] for box in boxes)
    covered = sum(
        min(one["right"], other["right"]) - max(one["left"], other["left"]) > 2
        and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 4
        for one, other in itertools.combinations(boxes, 2)
    )
    assert covered <= most
    assert said == []
