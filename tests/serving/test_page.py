"""The page in a browser: by mouse, by keyboard and on a phone. Skipped where there is none."""

import contextlib
import shutil
import socket
import threading

import pytest
import uvicorn

from bert4rec_jax.serving.app import create_app
from bert4rec_jax.serving.schema import Limits
from bert4rec_jax.serving.titles import Titles
from tests.serving.models import ITEMS, recommender

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
NASTY = "<img src=x onerror=alert(1)>"
TITLES = {item: f"Film {item[1:]}" for item in ITEMS} | {"i2": NASTY}


@pytest.fixture(scope="module")
def address():
    model = recommender()
    app = create_app(model, Titles(model.vocab, TITLES), Limits())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, address, **options):
    """The page; nothing may have been written to the console, blocked or loaded from elsewhere."""
    context, complaints = browser.new_context(**options), []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: request.url.startswith(address) or complaints.append(request.url),
    )
    page.goto(address)
    playwright.expect(page.locator("#recommended li")).to_have_count(10)
    yield page
    context.close()
    assert not complaints


def history(page):
    return page.locator("#history .name").all_inner_texts()


def recommended(page, titles):
    """Waits until the page shows what the model recommends after these."""
    ids = [next(item for item in ITEMS if TITLES[item] == title) for title in titles]
    (wanted,) = recommender().recommend([ids], k=10)
    playwright.expect(page.locator("#recommended .name")).to_have_text(
        [TITLES[scored.item] for scored in wanted]
    )


def test_a_history_by_mouse(browser, address):
    with opened(browser, address, viewport={"width": 1280, "height": 900}) as page:
        recommended(page, [])
        page.get_by_label("Search by title or id").fill("film 1")
        playwright.expect(page.locator("#found")).to_have_text("The first 12 found")
        for title in ("Film 1", "Film 10", "Film 11"):
            label = f"Add {title} to the history"
            page.locator("#results").get_by_role("button", name=label, exact=True).click()
        assert history(page) == ["Film 1", "Film 10", "Film 11"]
        recommended(page, ["Film 1", "Film 10", "Film 11"])

        grip, last = (page.locator("#history li").nth(i) for i in (0, 2))
        box, target = grip.locator(".grip").bounding_box(), last.bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        page.mouse.move(box["x"] + 5, target["y"] + target["height"] - 5, steps=5)
        page.mouse.up()
        assert history(page) == ["Film 10", "Film 11", "Film 1"]
        recommended(page, ["Film 10", "Film 11", "Film 1"])

        page.get_by_role("button", name="Remove Film 11").click()
        recommended(page, ["Film 10", "Film 1"])
        page.reload()
        recommended(page, ["Film 10", "Film 1"])
        page.get_by_role("button", name="Clear").click()
        recommended(page, [])


def test_a_history_by_keyboard(browser, address):
    with opened(browser, address) as page:
        page.get_by_label("Search by title or id").focus()
        page.keyboard.type("film 2")
        playwright.expect(page.locator("#found")).to_have_text("11 found")  # 20 to 29, 12
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert history(page) == ["Film 20", "Film 21"]
        page.get_by_role("button", name="Move Film 21 up").focus()
        page.keyboard.press("Enter")
        assert history(page) == ["Film 21", "Film 20"]
        playwright.expect(page.locator("#said")).to_have_text("Film 21 moved to number 1 of 2")
        page.keyboard.press("Alt+ArrowDown")
        assert history(page) == ["Film 20", "Film 21"]
        page.keyboard.press("Delete")
        assert history(page) == ["Film 20"]
        recommended(page, ["Film 20"])


def test_a_title_is_text_whatever_it_says(browser, address):
    with opened(browser, address) as page:
        page.get_by_label("Search by title or id").fill("onerror")
        playwright.expect(page.locator("#found")).to_have_text("1 found")
        page.locator("#results button").click()
        playwright.expect(page.locator("#history .name")).to_have_text(NASTY)
        assert page.locator("img").count() == 0


def test_a_phone(browser, address):
    """Everything fits the width, a finger drags, and the attention is shown where asked for."""
    with opened(
        browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    ) as page:
        for _ in range(2):
            page.locator("#recommended button").first.tap()
            page.wait_for_timeout(200)
        before = history(page)
        page.get_by_label("Show what the prediction attended to").check()
        playwright.expect(page.locator("#history .share")).to_have_count(2)
        assert "%" in page.locator("#history .share").first.inner_text()
        page.get_by_label("Show what the prediction attended to").uncheck()
        playwright.expect(page.locator("#history .share")).to_have_count(0)
        page.get_by_role("button", name=f"Move {before[1]} up").tap()
        assert history(page) == before[::-1]
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
        for control in page.locator("button, input, select").all():
            assert control.evaluate("e => e.ariaLabel || e.labels?.length || e.textContent.trim()")
