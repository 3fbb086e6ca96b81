"""page: how long a report, or the page of `dcpipe serve`, takes in Chromium until it shows clusters, and to sort and search.

    .native/readers/bin/python benches/page.py FILE-OR-ADDRESS [WORD]

Prints milliseconds: first paint, the cards of the clusters, and the median and the longest of 15 sorts and of 15 searches until the
next frame, as cards and as a table. WORD is what the searches look for besides numbers; the default is "a".
"""
import pathlib
import statistics
import sys

from playwright.sync_api import sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-component-update"]
target = sys.argv[1] if sys.argv[1].startswith("http") else pathlib.Path(sys.argv[1]).absolute().as_uri()
word = sys.argv[2] if len(sys.argv) > 2 else "a"

# The time until the frame after the next one begins: by then the browser has laid out and painted what changed.
TIMED = """async ([id, value, event]) => {
  const element = document.getElementById(id), began = performance.now();
  if (element.type === "checkbox") element.checked = value; else element.value = value;
  element.dispatchEvent(new Event(event));
  const script = performance.now() - began;
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return [script, performance.now() - began];
}"""


def told(name, times):
    script, whole = zip(*times)
    print(f"{name}: script {statistics.median(script):.0f} (at most {max(script):.0f}) ms, "
          f"until painted {statistics.median(whole):.0f} (at most {max(whole):.0f}) ms")


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
    firsts = []
    for _ in range(5):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(target)
        page.wait_for_selector(".card", timeout=120_000)
        firsts.append(page.evaluate("""async () => {
          const cards = performance.now();
          await new Promise((done) => setTimeout(done, 500));
          const paint = performance.getEntriesByType("paint").find((entry) => entry.name === "first-contentful-paint");
          return [paint ? paint.startTime : NaN, cards, performance.memory.usedJSHeapSize / 1e6];
        }"""))
        if len(firsts) < 5:
            page.close()
    print("first paint, median of 5: %.0f ms; cards seen after at most %.0f ms; %.0f MB of script memory" % tuple(
        statistics.median(column) for column in zip(*firsts)))
    print(page.locator("#count").inner_text())
    keys = page.evaluate("[...document.getElementById('sort').options].map((option) => option.value)")
    for view in ["cards", "table"]:
        page.select_option("#view", view)
        sorts = [page.evaluate(TIMED, ["sort", keys[turn % len(keys)], "change"]) for turn in range(15)]
        told(f"sort, {view}", sorts)
        words = [str(turn * 97) if turn % 2 else word[:1 + turn % len(word)] for turn in range(15)]
        told(f"search, {view}", [page.evaluate(TIMED, ["search", text, "input"]) for text in words])
        page.evaluate(TIMED, ["search", "", "input"])
    browser.close()
