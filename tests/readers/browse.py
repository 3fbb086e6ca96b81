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


def use_more(page, name):
    """Changes, labels, duplicates and outliers, filters."""
    past = page.locator("#changes button.link").first
    past.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    check("luster " in page.locator("dialog[open] h2").inner_text(), f"{name}: a key opens what a cluster was or became")
    page.keyboard.press("Escape")
    titles = page.locator("#changes figcaption").all_inner_texts()
    check([title.split(":")[0] for title in titles] == ["Splits", "Merges", "Births", "Deaths"], f"{name}: changes are listed")
    page.locator(".card").first.click()
    check("An epoch ago" in page.locator("dialog[open]").inner_text(), f"{name}: a cluster says what it was")
    page.locator("dialog[open] button.link").first.click()
    check("of the epoch before" in page.locator("dialog[open] h2").inner_text(), f"{name}: and leads to it")
    page.keyboard.press("Escape")
    copies = page.locator("#odd-copies .group")
    check(copies.count() == 1 and copies.locator(".odd").count() == 2, f"{name}: copies are named")
    check("<img src=x onerror=alert(2)>.jpg" in copies.inner_text(), f"{name}: a name that is markup stays a text")
    check(copies.locator(".thumb, img").count() == 2, f"{name}: and shown")
    tile = copies.locator(".thumb")
    if tile.count():
        check("data:image/jpeg" in tile.first.evaluate("node => getComputedStyle(node).backgroundImage"), f"{name}: with its picture")
    else:
        copies.scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('#odd-copies img').naturalWidth > 0")
        check(True, f"{name}: with its picture")
    for kind in ["near_within", "near_across", "lone", "far"]:
        check(page.locator(f"#odd-{kind} pre").count() == 1, f"{name}: {kind} has its SQL")
    check(page.locator("#odd-lone .group").count() > 3, f"{name}: outliers are listed")
    check(page.locator("#filters canvas").count() == 2, f"{name}: the filters are two pictures")
    grey = page.evaluate("""() => { const canvas = document.querySelector('#filters canvas');
        return new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size }""")
    check(grey > 20, f"{name}: of many greys")
    check(page.locator("#labels .confusion tbody tr").count() >= 3, f"{name}: labels stand against clusters")
    worst = page.evaluate(CONTRAST)
    check(worst[0] >= 4.5, f"{name}: texts stand out from their background {worst}")


# The least contrast of any visible text in the new sections, as WCAG measures it, and that text.
CONTRAST = """() => {
  const draw = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => { draw.clearRect(0, 0, 1, 1); draw.fillStyle = colour; draw.fillRect(0, 0, 1, 1);
    return [...draw.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const back = (node) => {
    const layers = [];
    for (let up = node; up; up = up.parentElement) layers.push(rgba(getComputedStyle(up).backgroundColor));
    return layers.reverse().reduce((under, [r, g, b, a]) => [r, g, b].map((v, at) => v * a / 255 + under[at] * (1 - a / 255)), [255, 255, 255]);
  };
  let worst = [99, ''];
  for (const node of document.querySelectorAll('#changes *, #labels *, #oddities *, #filters *')) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()) || !node.offsetParent) continue;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(back(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, node.textContent];
  }
  return worst;
}"""


def search(page, text):
    """Types a text letter by letter, waits for what it finds, and returns how often the page drew."""
    page.evaluate("""(text) => { const field = document.querySelector('#search');
        window.drawn = new Promise((done) => new MutationObserver((times, seen) => { seen.disconnect(); done(times.length); })
            .observe(document.querySelector('#count'), { childList: true }));
        for (let end = 0; end <= text.length; end++) {
          field.value = text.slice(0, end);
          field.dispatchEvent(new Event('input', { bubbles: true }));
        } }""", text)
    return page.evaluate("window.drawn")


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
    search(page, str(descending[0]))
    check(ids()[0] == descending[0] or descending[0] in ids(), f"{name}: a search finds a cluster")
    times = search(page, "no such label anywhere")
    check(cards.count() == 0 and page.locator("#count").inner_text().startswith("0 of"), f"{name}: a search finds nothing")
    check(times == 1, f"{name}: a text is searched for once, not once a letter")
    search(page, "")
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
        # A point is found up to a sixtieth of the width away.
        x, y = box["x"] + step % 60 * box["width"] / 60, box["y"] + step // 60 * box["width"] / 60 % box["height"]
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
    use_more(page, name)
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
        page.fill("#search", ".JPG")
        page.wait_for_selector("#found .grid img")
        check("images" in page.locator("#found output").inner_text(), f"serve, {width} pixels: a search finds images by path")
        page.locator("#found .grid button").first.click()
        page.wait_for_selector("dialog[open]")
        check(page.locator("dialog[open] h2").inner_text().startswith("Cluster "), f"serve, {width} pixels: and their cluster")
        page.keyboard.press("Escape")
        page.fill("#search", "")
        page.wait_for_selector("#found", state="hidden")
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
