"""The tear sheet in a real Chromium: desk and phone, dark and light, from a file, without network.

METAENSEMBLE_SCREENSHOTS=DIR keeps pictures of what was seen.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daemon.cli import main
from strategy.bundle import UNTRAINED_BUNDLE_PATH
from tests.daemon.test_backtesting import write_drawn_bars

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
SHOTS = os.environ.get("METAENSEMBLE_SCREENSHOTS", "")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on the PATH"),
    pytest.mark.timeout(300),
]

SIZES = {"desk": (1440, 1000), "phone": (390, 844)}
FIGURES = ("equity", "weights", "posterior", "rivals", "costs", "ablations")


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have the command write a sheet of the shipped bundle on drawn bars."""
    folder = tmp_path_factory.mktemp("sheet")
    bars_path = write_drawn_bars(folder / "bars.parquet", bars=1_500)
    words = [str(UNTRAINED_BUNDLE_PATH), "--data", str(bars_path), "--out", str(folder)]
    assert main(["evaluate", *words, "--ledger", str(folder / "trials.jsonl"), "--json"]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all of these tests."""
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", list(SIZES))
def test_sheet_is_whole_at_every_size_and_scheme(
    browser: Browser, sheet: Path, size: str, scheme: str
) -> None:
    """Every figure is drawn, nothing sticks out sideways, nobody is asked for anything."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        offline=True,
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((sheet.as_uri(), "data:", "blob:"))
            else wrong.append(f"asks {request.url}")
        ),
    )
    page.goto(sheet.as_uri())
    page.wait_for_selector("body[data-drawn=yes]")
    page.wait_for_timeout(500)
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SHOTS}/sheet-{size}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for name in FIGURES:
        assert page.locator(f"#{name} .main-svg").count() > 0, name
        box = page.locator(f"#{name}").bounding_box()
        assert box is not None
        assert box["height"] >= 90
    assert page.locator("#equity .scatterlayer .js-line").count() >= 4
    assert page.locator("h1").inner_text().startswith("The ensemble is not distinguishable")
    assert page.locator("table").count() >= 9
    assert wrong == []
    context.close()
