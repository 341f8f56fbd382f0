"""The report in real headless Chromium: offline, with a mouse and with a finger, light and dark.

`make test-report` runs these. HWN2N_CHROMIUM names a browser that is not on the path, HWN2N_SHOTS
a folder in which the pictures stay, for people to look at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_tools import BUDGET, hwn2n, taught

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1366, "height": 768}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1366, "height": 768}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "has_touch": True,
        "is_mobile": True,
    },
    "phone-dark": {
        "viewport": {"width": 360, "height": 740},
        "color_scheme": "dark",
        "has_touch": True,
        "is_mobile": True,
    },
}
SEARCH = tuple(
    f"--set={setting}"
    for setting in (
        "removal.updates=3", "shrinkage.updates=3", "train.max_images=300",
        "recalibrate_images=100", "final.epochs=5",
    )
)  # fmt: skip
"""A search of 31 candidates."""
HARD = """
apiVersion: hwn2n/v1
name: hard
constraints:
  - {metric: params, max: 25%}
  - {metric: latency, stat: p50, max: 3%}
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a run with a student, of one without, and both side by side."""
    folder = tmp_path_factory.mktemp("pages")
    teacher = taught(folder)
    hard = folder / "hard.yaml"
    hard.write_text(HARD)
    found = {}
    for name, budget, code in (("inside", BUDGET, 0), ("none", str(hard), 1)):
        outcome = hwn2n(
            "compress", teacher, "--budget", budget, "--data", "digits", "--threads", 1,
            "--out", folder / name, *SEARCH, "--quiet",
        )  # fmt: skip
        assert outcome.code == code, outcome.err
        found[name] = folder / name / "report.html"
    found["runs"] = folder / "runs.html"
    outcome = hwn2n("compare", folder / "inside", folder / "none", "--html", found["runs"])
    assert outcome.code == 0, outcome.err
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    path = os.environ.get("HWN2N_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.fail("Chromium must be installed, or HWN2N_CHROMIUM say where it is")
    with api.sync_playwright() as playwright:
        # a sandbox is for pages of strangers, and impossible for root in a container
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def opened(browser: Any, page: Path, look: str) -> Iterator[Any]:
    """The page, drawn; fails for anything on the console and any request but the file's own."""
    context = browser.new_context(offline=True, **LOOKS[look])
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("console", lambda m: wrong.append(f"console {m.type}: {m.text}"))
    tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    tab.on(
        "request",
        lambda r: None if r.url.startswith(("data:", "blob:")) else wrong.append(r.url),
    )
    tab.goto(page.as_uri())
    until(tab, "document.documentElement.dataset.ready === 'yes'")
    try:
        yield tab
        assert wrong == [page.as_uri()]
    finally:
        context.close()


def until(tab: Any, condition: str) -> None:
    """Wait for it; playwright's own wait evaluates a text in the page, which its policy forbids."""
    for _ in range(600):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")


def shot(tab: Any, name: str, tmp_path: Path, *, full: bool = True) -> None:
    folder = Path(os.environ.get("HWN2N_SHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    tab.screenshot(path=str(path), full_page=full)
    assert path.stat().st_size > 20_000, "an empty page"


@pytest.mark.parametrize("look", list(LOOKS))
@pytest.mark.parametrize("name", ["inside", "none", "runs"])
def test_it_is_drawn_offline(
    browser: Any, pages: dict[str, Path], name: str, look: str, tmp_path: Path
) -> None:
    with opened(browser, pages[name], look) as tab:
        shot(tab, f"{name}-{look}", tmp_path)
        width, seen = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert width <= seen, "the page itself must not scroll sideways"
        charts = tab.locator("[data-chart]")
        assert charts.count() >= 2
        for i in range(charts.count()):
            marks = charts.nth(i).locator(".points path, .lines path, .point path")
            assert marks.count() > 0, charts.nth(i).get_attribute("data-chart")
            box = charts.nth(i).bounding_box()
            assert box["width"] <= seen and box["height"] > 150
            clipped = charts.nth(i).evaluate(
                "(e) => { const whole = e.getBoundingClientRect();"
                "return [...e.querySelectorAll('.xtick text, .ytick text, .xtitle, .ytitle')]"
                ".filter((t) => { const r = t.getBoundingClientRect();"
                "return r.left < whole.left - 1 || r.right > whole.right + 1 ||"
                "r.bottom > whole.bottom + 1; }).map((t) => t.textContent) }"
            )
            assert clipped == []
        small = tab.evaluate(
            "[...document.querySelectorAll('body *')].filter((e) => e.offsetParent &&"
            "[...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) &&"
            "parseFloat(getComputedStyle(e).fontSize) < 12).map((e) => e.textContent)"
        )
        assert small == []


@pytest.mark.parametrize("look", ["light", "dark"])
def test_text_of_charts_follows_the_theme(browser: Any, pages: dict[str, Path], look: str) -> None:
    fill = "getComputedStyle(document.querySelector('.xtick text')).fill"
    body = "getComputedStyle(document.body).color"
    with opened(browser, pages["inside"], look) as tab:
        assert tab.evaluate(fill) == tab.evaluate(body)
        tab.emulate_media(color_scheme="dark" if look == "light" else "light")
        until(tab, f"{fill} === {body}")


def test_pointing_shows_a_candidate_and_a_click_its_layers(
    browser: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    with opened(browser, pages["inside"], "light") as tab:
        chart = tab.locator("[data-chart='trade-flops']")
        chart.scroll_into_view_if_needed()
        box = chart.locator(".points path").first.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        tab.mouse.move(x, y)
        chart.locator(".hovertext").first.wait_for()
        told = chart.locator(".hovertext").first.text_content()
        assert "candidate" in told and "validation accuracy" in told and "reward" in told
        panel = tab.locator("dialog#candidate")
        assert not panel.is_visible()
        tab.mouse.click(x, y)
        panel.wait_for()
        title = panel.locator("h2").text_content()
        assert title.startswith("Candidate ") and title.split()[1].strip(",") in told
        rows = panel.locator("tbody tr")
        assert rows.count() == 7, "the layers of digits-cnn"
        assert "features.conv1" in rows.first.text_content()
        shot(tab, "panel-light", tmp_path, full=False)
        ring = "document.querySelector(\"[data-chart='trade-params']\").data.at(-1).x.length"
        assert tab.evaluate(ring) == 1, "the same candidate is marked in the other charts"
        panel.locator("[data-step='1']").click()
        assert panel.locator("h2").text_content() != title
        tab.keyboard.press("Escape")
        assert not panel.is_visible() and tab.evaluate(ring) == 0


def test_the_keyboard_reaches_every_candidate(browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages["inside"], "dark") as tab:
        options = tab.locator("#picker option")
        total = tab.evaluate("JSON.parse(document.getElementById('page-data').textContent)"
                             ".candidates.length")  # fmt: skip
        assert options.count() == total == 31
        tab.locator("#picker").focus()
        tab.keyboard.press("Home")
        tab.locator("#pick").focus()
        tab.keyboard.press("Enter")
        assert tab.locator("dialog h2").text_content() == "Candidate 1"


def test_a_finger_opens_the_nearest_candidate(
    browser: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    with opened(browser, pages["none"], "phone") as tab:
        tab.locator("[data-candidate]").first.tap()
        panel = tab.locator("dialog#candidate")
        panel.wait_for()
        assert "outside the budget" in panel.text_content()
        box = panel.bounding_box()
        assert box["x"] >= 0 and box["width"] <= 390 and box["y"] + box["height"] <= 845
        shot(tab, "panel-phone", tmp_path, full=False)
        panel.locator("[data-close]").tap()
        assert not panel.is_visible()


def test_it_prints(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    with opened(browser, pages["inside"], "dark") as tab:
        folder = Path(os.environ.get("HWN2N_SHOTS") or tmp_path)
        path = folder / "inside.pdf"
        tab.pdf(path=str(path), format="A4")
        assert path.stat().st_size > 30_000
        tab.emulate_media(media="print")
        tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        black = "getComputedStyle(document.querySelector('.xtick text')).fill"
        assert tab.evaluate(black) == "rgb(0, 0, 0)"
        assert not tab.locator("nav").is_visible() and not tab.locator("#picker").is_visible()
