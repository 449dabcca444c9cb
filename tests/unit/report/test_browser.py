"""The page in a real browser: its script runs without errors, and filter, sort and keys do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from lavis.report.run_folder import StageRun
from lavis.report.run_report import write_run_report
from lavis.structures import VideoSample

BROWSER = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

# What a visitor does; each step leaves the queries that are then shown.
ACTIONS = """
<script>
addEventListener("error", (event) => { document.body.dataset.failed = event.message; });
setTimeout(() => {
  const shown = () => [...document.querySelectorAll("#cards > li")].map((card) => card.querySelector("h3").textContent);
  const set = (id, value) => {
    const input = document.getElementById(id);
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const log = { worst: shown(), count: document.getElementById("count").textContent };
  set("sort", "best"); log.best = shown();
  set("sort", "gain"); log.gain = shown();
  set("sort", "order"); log.order = shown();
  set("search", "VOICE kettle"); log.search = shown();
  log.counted = document.getElementById("count").textContent;
  set("search", "nowhere"); log.none = shown().length; log.nothing = !document.getElementById("nothing").hidden;
  document.getElementById("reset").click(); log.reset = shown().length;
  document.querySelector("input[value=said]").click(); log.said = shown().length;
  document.getElementById("search").blur();
  press("j"); press("j"); log.second = document.activeElement.querySelector("h3").textContent === shown()[1];
  press("Enter"); log.opened = document.activeElement.querySelector("details").open;
  press("/"); log.searching = document.activeElement.id;
  document.getElementById("theme").click(); log.theme = document.documentElement.dataset.theme;
  const plot = document.querySelector("[data-chart]");
  const left = plot.getBoundingClientRect().left;
  plot.dispatchEvent(new PointerEvent("pointermove", { clientX: left + 5, bubbles: true }));
  log.tip = plot.querySelector(".tip").textContent;
  const track = document.querySelector(".timeline .track");
  const box = track.getBoundingClientRect();
  track.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, bubbles: true }));
  log.cursor = document.querySelector(".cursor").dataset.label;
  log.wide = document.documentElement.scrollWidth <= innerWidth;
  document.body.dataset.log = JSON.stringify(log);
}, 50);
</script>
"""


def opened(page: Path, profile: Path, width: int) -> dict[str, object]:
    """The log of the actions above after the page was opened in a window of that width."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-dev-shm-usage", f"--user-data-dir={profile}", f"--window-size={width},900",
        "--virtual-time-budget=4000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
    failed = re.search(r'data-failed="([^"]*)"', dom)
    assert failed is None, failed and unescape(failed[1])
    found = re.search(r'data-log="([^"]*)"', dom)
    assert found, "the actions did not finish"
    log: dict[str, object] = json.loads(unescape(found[1]))
    return log


@pytest.mark.skipif(BROWSER is None, reason="no Chromium found (set CHROMIUM to its path)")
@pytest.mark.parametrize("width", [1200, 500])
def test_page_in_browser(run_folders: dict[str, Path], samples: list[VideoSample], tmp_path: Path, width: int) -> None:
    stages = [StageRun(f"Stage {n}", [run_folders[f"stage{n}"]], "quickstart_test") for n in (1, 2)]
    page = write_run_report(tmp_path / "report.html", "Quickstart", stages, samples, train_samples=samples)
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", ACTIONS + "</body>"), encoding="utf-8")
    log = opened(page, tmp_path / "profile", width)
    red, kettle, star, why = (f"“{sample.query}”" for sample in samples)
    assert log["worst"] == [why, star, red, kettle]
    assert log["best"] == [red, kettle, star, why]
    assert log["gain"] == [kettle, star, red, why]
    assert log["order"] == [red, kettle, star, why]
    assert log["search"] == [kettle]
    assert (log["count"], log["counted"]) == ("4 queries", "1 of 4 queries")
    assert (log["none"], log["nothing"], log["reset"], log["said"]) == (0, True, 4, 2)
    assert (log["second"], log["opened"], log["searching"]) == (True, True, "search")
    assert log["theme"] in ("dark", "light")
    assert str(log["tip"]).startswith("10 iteration")
    assert log["cursor"] == "4.0 s"
    assert log["wide"], "the page is wider than its window"
