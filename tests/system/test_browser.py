"""The live page of a running daemon in a real Chromium: desk and phone, dark and light, by keys."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kernels.events import AGENTS, REGIMES
from strategy.controllers import CONTROLLER_NAMES
from tests.fakes.daemon_process import running_daemon, wait_for_event

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
SHOTS = os.environ.get("METAENSEMBLE_SCREENSHOTS", "")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on the PATH"),
    pytest.mark.timeout(300),
]

SIZES = {"desk": (1440, 1000), "phone": (390, 844)}
SETTLE_MS = 3_000


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """One daemon for all of these tests: its page's address and token."""
    directory = tmp_path_factory.mktemp("watched")
    with running_daemon(directory, "--set", "log.level=info") as running:
        lines = wait_for_event(running, "views_opened")
        opened = json.loads(lines[-1])
        token = Path(opened["token_file"]).read_text().strip()
        wait_for_event(running, "order_filled")
        yield opened["address"], token


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all of these tests."""
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(
    browser: Browser, address: str, size: str = "desk", scheme: str = "dark"
) -> Iterator[tuple[Page, list[str]]]:
    """Open the page; every error and every request to elsewhere is collected."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)

    def look(request: Any) -> None:
        if not request.url.startswith((address, address.replace("http", "ws"), "data:", "blob:")):
            wrong.append(f"asks {request.url}")

    page.on("request", look)
    page.goto(address)
    page.wait_for_selector("#link[data-state=open]")
    page.wait_for_timeout(SETTLE_MS)
    try:
        yield page, wrong
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", list(SIZES))
def test_page_is_whole_at_every_size_and_scheme(
    browser: Browser, daemon: tuple[str, str], size: str, scheme: str
) -> None:
    """Every chart is drawn, nothing sticks out sideways, nothing is asked of anybody else."""
    with opened(browser, daemon[0], size, scheme) as (page, wrong):
        assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
        for chart in ("price", "weights", "equity", "latency"):
            assert page.locator(f"#{chart} .main-svg").count() > 0, chart
            box = page.locator(f"#{chart}").bounding_box()
            assert box is not None
            assert box["height"] >= 190
        assert page.locator("#price .scatterlayer .point").count() > 0  # fills
        assert page.locator("#price .shapelayer path").count() > 0  # regime bands
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        assert page.locator("#figures dd").first.inner_text().replace(",", "") > "9"
        assert page.locator("#agents .bar").count() == len(AGENTS) + len(CONTROLLER_NAMES)
        assert page.locator("#belief .bar").count() == len(REGIMES)
        for label in page.locator(".chart").all():
            assert len(label.get_attribute("aria-label") or "") > 10
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{SHOTS}/{size}-{scheme}.png", full_page=True)
        assert wrong == []


def test_numbers_move(browser: Browser, daemon: tuple[str, str]) -> None:
    """What the page shows is brought up to date by the socket, without a reload."""
    with opened(browser, daemon[0]) as (page, _):
        before = page.locator("#figures").inner_text()
        page.wait_for_timeout(2_500)
        assert page.locator("#figures").inner_text() != before


def test_text_is_readable_in_both_schemes(browser: Browser, daemon: tuple[str, str]) -> None:
    """Text and soft text have a contrast of at least 4.5 to 1 on card and ground (WCAG AA)."""
    luminance = """(name) => {
      const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
      const part = (i) => parseInt(text.slice(1 + 2 * i, 3 + 2 * i), 16) / 255;
      const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      return 0.2126 * linear(part(0)) + 0.7152 * linear(part(1)) + 0.0722 * linear(part(2));
    }"""
    for scheme in ("dark", "light"):
        with opened(browser, daemon[0], scheme=scheme) as (page, _):
            for front in ("--text", "--soft", "--up", "--down", "--warn"):
                for back in ("--card", "--ground"):
                    pair = sorted(page.evaluate(luminance, name) for name in (front, back))
                    assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (scheme, front, back)


def test_everything_can_be_done_by_keyboard(browser: Browser, daemon: tuple[str, str]) -> None:
    """Instrument, time, stage, theme and help by one key each; every control by Tab, and seen."""
    with opened(browser, daemon[0]) as (page, wrong):
        page.keyboard.press("2")
        assert page.locator("#instruments [aria-selected=true]").inner_text() == "ETH/USDT"
        page.locator("#instruments [aria-selected=true]").focus()
        page.keyboard.press("ArrowLeft")
        assert page.locator("#instruments [aria-selected=true]").inner_text() == "BTC/USDT"
        page.keyboard.press("[")
        assert page.locator("#windows input:checked").get_attribute("value") == "300"
        stage = page.locator("#stage").input_value()
        page.keyboard.press("s")
        assert page.locator("#stage").input_value() != stage
        page.keyboard.press("t")
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
        page.keyboard.press("?")
        assert page.locator("#keys").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("#keys").is_visible()
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        reached = set()
        for _ in range(30):
            page.keyboard.press("Tab")
            name, outline = page.evaluate(
                "[document.activeElement.id || document.activeElement.className,"
                " getComputedStyle(document.activeElement).outlineStyle]"
            )
            reached.add(name)
            if name in {"operate", "theme", "help"}:
                assert outline == "solid", f"focus on {name} cannot be seen"
        assert {"skip", "operate", "theme", "help", "stage", "alerts"} <= reached
        assert wrong == []


def test_command_needs_token_and_a_second_press(browser: Browser, daemon: tuple[str, str]) -> None:
    """The first press only arms; a wrong token is refused; with the right one it is done."""
    address, token = daemon
    with opened(browser, address) as (page, _):
        page.keyboard.press("o")
        page.fill("#token", "wrong")
        page.fill("#reason", "tried in a browser")
        reduce = page.locator("[data-command=reduce]")
        reduce.press("Enter")
        assert "Press again" in reduce.inner_text()
        assert page.locator("#answer").inner_text() == ""
        reduce.press("Enter")
        page.wait_for_selector("#answer:has-text('Refused')")
        page.fill("#token", token)
        reduce.press("Enter")
        reduce.press("Enter")
        page.wait_for_selector("#answer:has-text('Done')")
        page.keyboard.press("Escape")
        page.wait_for_selector("#breaker[data-state=REDUCE_ONLY]")
        assert "by the live page" in page.locator("#alerts").inner_text()
        assert page.locator("#token").input_value() == ""
