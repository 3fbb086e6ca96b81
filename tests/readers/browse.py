"""browse: opens a run's report, and its live page, in Chromium, and does what a person does there.

    browse.py REPORT LARGE URL -- COMMAND...

REPORT is the file, LARGE the same with its montages and its data in a folder, URL the address of `dcpipe serve` for the same
run. COMMAND makes one epoch more. Prints a line for each
thing that works; anything else ends with 1.
"""
import glob
import pathlib
import subprocess
import sys

from playwright.sync_api import sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run",
             "--disable-component-update", "--disable-sync"]
report, large = (pathlib.Path(path).absolute() for path in sys.argv[1:3])
url, command = sys.argv[3], sys.argv[5:]


def check(holds, what):
    if not holds:
        sys.exit(f"not so: {what}")
    print("ok  ", what)


def watched(browser, **options):
    """A page, with what it says on its console and what it asks for."""
    page = browser.new_context(**options).new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    return page, said, asked


def use(page, name):
    cards = page.locator(".card")
    count = cards.count()
    check(count >= 3, f"{name}: clusters are shown")

    def ids():
        return [int(card.get_attribute("data-cluster")) for card in cards.all()]

    page.select_option("#sort", "id")
    descending = ids()
    page.uncheck("#descending")
    check(descending == sorted(descending, reverse=True) and ids() == sorted(descending), f"{name}: it sorts both ways")
    page.fill("#search", str(descending[0]))
    check(ids()[0] == descending[0] or descending[0] in ids(), f"{name}: a search finds a cluster")
    page.fill("#search", "no such label anywhere")
    check(cards.count() == 0 and page.locator("#count").inner_text().startswith("0 of"), f"{name}: a search finds nothing")
    page.fill("#search", "")
    page.select_option("#view", "table")
    rows = page.locator("#rows tbody tr")

    def column(key):
        at = page.locator("#rows thead th").evaluate_all(
            "(heads, key) => heads.findIndex((head) => head.querySelector(`[data-key=${key}]`))", key)
        return [float(row.locator("td").nth(at).inner_text()) for row in rows.all()]

    check(rows.count() == len(descending) and not cards.first.is_visible(), f"{name}: the table has a row for each cluster")
    page.locator("#rows [data-key=size]").click()
    sizes = column("size")
    page.keyboard.press("Enter")
    check(sizes == sorted(sizes, reverse=True) and column("size") == sorted(sizes), f"{name}: a head sorts by its column, by keys too")
    check(page.locator("#rows [aria-sort=ascending]").count() == 1, f"{name}: and says so")
    page.locator("#rows tbody button").first.click()
    check(page.locator("dialog[open] h2").inner_text().startswith("Cluster "), f"{name}: a row opens its cluster")
    page.keyboard.press("Escape")
    check(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name}: the table does not stick out")
    page.select_option("#view", "cards")
    page.select_option("#sort", "size")
    page.check("#descending")
    cards.first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] table tbody tr", state="attached")
    check(page.locator("dialog[open] h2").inner_text().startswith("Cluster "), f"{name}: a key opens a cluster")
    page.keyboard.press("Escape")
    check(page.locator("dialog[open]").count() == 0, f"{name}: Escape closes it")

    canvas = page.locator("#canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for step in range(4000):
        x, y = box["x"] + (step * 7) % box["width"], box["y"] + (step * 7) // box["width"] * 9 % box["height"]
        page.mouse.move(x, y)
        if page.locator("#under").inner_text():
            break
    check("image" in page.locator("#under").inner_text(), f"{name}: the map tells what is under the pointer")
    check(page.locator("#under img, #under .thumb").count() == 1, f"{name}: and shows it")
    check(canvas.bounding_box() == box, f"{name}: the map stays in its place")
    page.keyboard.down("Shift")
    # The corners are round, and a point there is not the canvas.
    page.mouse.move(box["x"] + 12, box["y"] + 12)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 12, box["y"] + box["height"] - 12)
    page.mouse.up()
    page.keyboard.up("Shift")
    check("images selected" in page.locator("#picked").inner_text(), f"{name}: a frame selects images")
    check(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name}: nothing sticks out")


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
    for look in [{"viewport": {"width": 1280, "height": 900}},
                 {"viewport": {"width": 400, "height": 800}, "color_scheme": "dark"}]:
        width = look["viewport"]["width"]
        for what, file in [("report", report), ("report with a folder", large)]:
            page, said, asked = watched(browser, **look)
            page.goto(file.as_uri())
            page.wait_for_selector(".card")
            use(page, f"{what}, {width} pixels")
            for picture in page.locator(".card img").all():
                picture.scroll_into_view_if_needed()
                page.wait_for_function("(image) => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
            check(page.locator(".card img").count() >= 3, f"{what}, {width} pixels: every picture is there")
            beside = {path.as_uri() for folder in file.parent.glob(glob.escape(file.name) + ".*.files") for path in folder.iterdir()}
            check(bool(beside) == (file == large), f"{what}, {width} pixels: it has a folder beside it, or none")
            others = [address for address in asked if address != file.as_uri() and not address.startswith("data:")]
            check(set(others) <= beside, f"{what}, {width} pixels: it asks for nothing else")
            check(not said, f"{what}, {width} pixels: the console is silent {said}")

        page, said, asked = watched(browser, **look)
        page.goto(url)
        page.wait_for_selector(".card")
        use(page, f"serve, {width} pixels")
        cards = page.locator(".card")
        cards.first.click()
        page.wait_for_selector("dialog[open] .grid img")
        check(page.locator("dialog[open] .grid img").count() >= 1, f"serve, {width} pixels: all members are there")
        page.keyboard.press("Escape")
        if width == 400:
            before = page.locator("#epoch option").count()
            made = subprocess.run(command, stdout=subprocess.DEVNULL)
            check(made.returncode == 0, "one epoch more was made")
            page.wait_for_function("(before) => document.querySelectorAll('#epoch option').length > before", arg=before,
                                   timeout=120_000)
            check(True, "serve: a new epoch appears by itself")
        check(all(address.startswith((url, "data:")) for address in asked), f"serve, {width} pixels: it asks no other origin")
        check(not said, f"serve, {width} pixels: the console is silent {said}")
    browser.close()
