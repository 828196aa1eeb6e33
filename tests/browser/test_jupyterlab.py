"""A student opens lab 00 in JupyterLab, runs all cells, and sees outputs and the picture."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import missing
from helpers import eventually, free_port

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "only-for-this-test"
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LAB = "00-start-here.ipynb"

RUN_ALL = """async () => {
  const app = window.jupyterapp;
  const panel = app.shell.currentWidget;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await app.commands.execute('notebook:run-all-cells');
  return panel.content.widgets
    .filter(cell => cell.model.type === 'code')
    .map(cell => ({
      count: cell.model.executionCount,
      outputs: cell.model.outputs.toJSON().map(output => output.output_type),
      alts: cell.model.outputs.toJSON().map(output => output.metadata?.['image/png']?.alt || ''),
    }));
}"""


@pytest.fixture(scope="module")
def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("chromium")
    return str(path)


@pytest.fixture
def jupyterlab(tmp_path: Path) -> Iterator[str]:
    """JupyterLab over a copy of the labs; its address, with the token."""
    work = tmp_path / "work"
    shutil.copytree(ROOT / "notebooks", work, ignore=shutil.ignore_patterns("source"))
    settings = tmp_path / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *(f"--ServerApp.root_dir={work}", f"--IdentityProvider.token={TOKEN}"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        "--LabApp.expose_app_in_browser=True",
    ]
    log = tmp_path / "jupyter.log"
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=work, env=environment, stdout=out, stderr=out) as server,
    ):
        try:
            eventually(
                lambda: "is running at" in log.read_text() or server.poll() is not None, timeout=60
            )
            assert server.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}/lab/tree/{LAB}?token={TOKEN}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)


@pytest.mark.timeout(180)
def test_lab_00_opens_and_runs(jupyterlab: str, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        asked_outside: list[str] = []
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))
                else asked_outside.append(request.url)
            ),
        )
        page.goto(jupyterlab)
        page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel",
            timeout=60_000,
        )
        cells = page.evaluate(RUN_ALL)
        assert len(cells) >= 10
        for number, cell in enumerate(cells, 1):
            assert cell["count"] == number, f"cell {number} did not run"
            assert "error" not in cell["outputs"], f"cell {number} failed"
        [alt] = [alt for cell in cells for alt in cell["alts"] if alt]
        assert "tower sent 2 messages" in alt  # JupyterLab keeps it, and shows pictures without
        picture = page.locator(".jp-RenderedImage img").first
        picture.scroll_into_view_if_needed()
        assert picture.evaluate("image => image.complete && image.naturalWidth") == 1000
        assert page.locator("text=Your set-up works.").first.count() == 1
        assert asked_outside == []
        browser.close()
