"""The HTML report of 20,000 files and 5 GB: its size, and in Chromium the time until the map is drawn and until a zoom is.

python benchmarks/html_report.py            # a manifest of such a bundle
python benchmarks/html_report.py FOLDER     # a folder, such as benchmarks/analyze.py makes with --only-make
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from common import MLBUNDLE, describe_machine, run
from playwright.sync_api import sync_playwright

from hatch_mlbundle.manifest import ArtifactRow, FileRow, FileState, Manifest, Saved, Totals
from hatch_mlbundle.reports.html.page import html_report

ROUNDS = 5
FILES, SIZE = 20_000, 5 * 10**9
SIZE_LIMIT, TIME_LIMIT = 1_000_000, 1_000

WATCH = """
  const painted = (then) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = then;
    port2.postMessage(0);
  });
  new MutationObserver((_, observer) => {
    if (!document.querySelector(".map-box")) return;
    observer.disconnect();
    painted(() => { window.drawn = performance.now(); });
  }).observe(document, { childList: true, subtree: true });
  addEventListener("click", (event) => {
    window.zoomed = undefined;
    painted(() => { window.zoomed = performance.now() - event.timeStamp; });
  }, true);
"""
"""Takes the times within the page: `performance.now()` counts from the navigation, and a task after a frame runs once it is painted."""


def made_up() -> Manifest:
    """Return a manifest of as many files and bytes; sizes are spread as in a site-packages: few files are most of the bytes."""
    randomly = random.Random(0)
    sizes = [randomly.lognormvariate(8.3, 2.6) for _ in range(FILES)]
    scale = SIZE / sum(sizes)
    rows = [_row(number, max(1, round(size * scale)), randomly) for number, size in enumerate(sizes)]
    total = Totals(size=SIZE, installed=sum(row.after.size for row in rows if row.after), structure=0, files=FILES, sha256=None)
    nothing = Saved(installed=0, compressed=None)
    return Manifest(
        generator="benchmark",
        artifact=ArtifactRow(name="made-up", kind="folder", before=total, after=total),
        tools=(),
        configuration={},
        steps=(),
        remainder=nothing,
        files=tuple(rows),
        companions=(),
        findings=(),
    )


def _row(number: int, size: int, randomly: random.Random) -> FileRow:
    owner = f"package_{randomly.randrange(80)}"
    folders = "/".join(f"part_{randomly.randrange(12)}" for _ in range(randomly.randint(0, 4)))
    kind, suffix = randomly.choice((("python", "py"), ("bytecode", "pyc"), ("elf", "so"), ("data", "bin"), ("header", "h")))
    state = FileState(size=size, compressed=None, sha256=f"{randomly.getrandbits(256):064x}")
    path = "/".join(part for part in (owner, folders, f"file_{number}.{suffix}") if part)
    return FileRow(path=path, kind=kind, owner=owner, before=state, after=state)


def times(page: Any, address: str) -> tuple[float, float]:
    """Return the milliseconds from the navigation until the map is painted, and from a click until the zoomed map is."""
    page.goto(address)
    opened = _value(page, "drawn")
    box = page.locator(".map-box").first
    box.scroll_into_view_if_needed()
    place = box.bounding_box()
    page.mouse.click(place["x"] + 8, place["y"] + 8)
    return opened, _value(page, "zoomed")


def _value(page: Any, name: str) -> float:
    while (value := page.evaluate(f"window.{name}")) is None:
        page.wait_for_timeout(10)
    return float(value)


def main() -> None:
    manifest = Manifest.from_json(run([*MLBUNDLE, "analyze", "--json", sys.argv[1]]).output) if len(sys.argv) > 1 else made_up()
    after = manifest.artifact.after
    report = html_report(manifest).encode()
    print(describe_machine())
    print(f"{after.files:,} files, {after.installed / 1e9:.2f} GB")
    print(f"report: {len(report):,} bytes (limit {SIZE_LIMIT:,})")
    browser_path = next(found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "report.html"
        path.write_bytes(report)
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        print(f"Chromium {browser.version}, 1280 x 800")
        measured = []
        for _ in range(ROUNDS):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.add_init_script(WATCH)
            measured.append(times(page, path.as_uri()))
            page.close()
        browser.close()
    for what, values in zip(
        ("navigation until the map is painted", "click until the zoom is painted"), zip(*measured, strict=True), strict=True
    ):
        print(f"{what}: median {median(values):.0f} ms, worst {max(values):.0f} ms of {ROUNDS} (limit {TIME_LIMIT:,} ms)")


if __name__ == "__main__":
    main()
