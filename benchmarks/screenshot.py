"""The picture of a report that docs/ and README show, taken offline in headless Chromium.

    hwn2n compress vgg13.pt --budget budgets/mnist-20k.yaml --data mnist --data-root FOLDER \\
        --set removal.updates=5 --set shrinkage.updates=5 --set final.epochs=8 --out runs/mnist-20k
    python -m benchmarks.screenshot runs/mnist-20k/report.html docs/images/report.png

Needs playwright (`make test-report` installs it) and a Chromium on the path.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

SIZE = {"width": 1180, "height": 1500}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("error: chromium must be installed, but is not on the path", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(viewport=SIZE, offline=True).new_page()  # type: ignore[arg-type]
        page.goto(options.report.resolve().as_uri())
        page.wait_for_selector(".js-plotly-plot .main-svg")
        page.wait_for_timeout(1000)
        page.screenshot(path=options.out)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
