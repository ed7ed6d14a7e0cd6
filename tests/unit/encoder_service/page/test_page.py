"""The first page: what is served, what must not be in it, and its own tests where there is node."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from encoder_service.api import page, problems

FOLDER = Path(page.__file__).parents[1] / "page"
SCRIPTS = sorted(FOLDER.glob("*.mjs"))


@pytest.fixture(scope="module")
def browser() -> TestClient:
    app = FastAPI()
    problems.install(app)
    app.include_router(page.router)
    return TestClient(app)


def test_every_file_is_served_and_nothing_else(browser: TestClient) -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(page.NAMES)
    assert browser.get("/").text == (FOLDER / "index.html").read_text()
    assert browser.get("/page/page.mjs").headers["content-type"].startswith("text/javascript")
    assert browser.get("/page/page.css").headers["content-type"].startswith("text/css")
    for name in ("", "secret", "..%2Fsettings.py", "%2e%2e/settings.py"):
        assert browser.get(f"/page/{name}").status_code == 404


def test_nothing_runs_that_is_not_ours(browser: TestClient) -> None:
    for path in ("/", "/page/page.mjs"):
        policy = browser.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


def test_the_markup_needs_no_exception_from_the_policy() -> None:
    text = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script(?![^>]* src=)[^>]*>|<style|style=|\bon\w+=", text) == []
    assert re.findall(r"(?:src|href)=\"(?!/|data:,)", text) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_text_goes_in_as_text(path: Path) -> None:
    code = path.read_text()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
    assert re.findall(forbidden, code) == []
    assert "http://" not in code
    assert "https://" not in code


def test_the_script_and_the_markup_agree_about_names() -> None:
    markup = set(re.findall(r"\bid=\"([^\"]+)\"", (FOLDER / "index.html").read_text()))
    used = set(re.findall(r"\$\(\"([^\"]+)\"\)", (FOLDER / "page.mjs").read_text()))
    assert used <= markup


def test_what_the_page_does_in_node() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    test = Path(__file__).with_name("page_test.mjs")
    done = subprocess.run(
        [node, "--test", str(test)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout
    assert "# pass 8" in done.stdout
