"""The site: every page reached, every link and picture there, every figure described, nothing from another host.

The pages are made in every run. Sphinx makes HTML of them where its packages are: `make site` and CI install them.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from medsr_workbook import site

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".venv-site"
PICTURE = re.compile(r"!\[((?:\\.|[^]\\])*)\]\(([^)]+)\)")
EDITIONS = ("lecturer", "student")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=EDITIONS)
def edition(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param)
    site.write(place, request.param)
    return request.param, place


@pytest.fixture
def pages(edition):
    """Page -> Markdown."""
    return {
        path.relative_to(edition[1]).with_suffix("").as_posix(): path.read_text() for path in edition[1].rglob("*.md")
    }


def prose(text):
    return re.sub(r"(`{3,}).*?\1|`[^`\n]*`", "", text, flags=re.S)


def toctrees(page, text):
    entries = [block.split("\n\n", 1)[1].split() for block in re.findall(r"```{toctree}\n(.*?)\n```", text, re.S)]
    return [os.path.normpath(Path(page).parent / entry) for block in entries for entry in block]


def test_each_page_is_in_one_table_of_contents_and_what_is_there_is_a_page(pages):
    named = sorted(["index", *(entry for page, text in pages.items() for entry in toctrees(page, text))])
    assert named == sorted(pages)


def test_what_is_to_be_on_it_is_on_it(edition, pages):
    notebooks = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    cards = {f"weights/{path.stem}" for path in (ROOT / "medsr_core/weights").glob("*.md")}
    others = {"docs/glossary", "docs/architecture", "commands", "api/medsr_core.networks", "examples/restore"}
    assert notebooks | cards | others <= set(pages)
    assert "automodule:: medsr_core.networks.sr3\n" in pages["api/medsr_core.networks"]
    assert "## `medsr data get`" in pages["commands"]
    assert ("notebooks/lecturer" in pages) == (edition[0] == "lecturer")
    assert any("<summary>Solution" in text for text in pages.values()) == (edition[0] == "lecturer")


def test_links_between_notebooks_and_documents_lead_to_pages(edition, pages):
    place, seen = edition[1], 0
    for page, text in pages.items():
        for target in re.findall(r"(?<!!)\[[^][]*\]\((?!https?:)([^)\s]+)\)", prose(text)):
            assert (place / page).parent.joinpath(target).is_file(), f"{page}: {target}"
            seen += 1
    assert seen > 60
    assert "[one page for all notebooks](../docs/glossary.md)" in pages["notebooks/01_the_inverse_problem"]
    assert "[README](../index.md)" in "".join(pages.values())


def test_every_stored_figure_is_shown_once_with_its_alternative_text(edition, pages):
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        outputs = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
        shown = PICTURE.findall(pages[f"notebooks/{path.stem}"])
        assert [re.sub(r"\\(.)", r"\1", alt) for alt, _ in shown] == [o.metadata["image/png"]["alt"] for o in outputs]
        files = [edition[1] / "notebooks" / file for _, file in shown]
        assert len(set(files)) == len(files) and all(file.read_bytes()[:4] == b"\x89PNG" for file in files)


def test_formulas_are_drawn_and_sliders_have_their_picture(pages):
    text = pages["notebooks/01_the_inverse_problem"]
    assert "$" not in prose(text) and text.count('<img class="display"') >= 5
    assert text.count("Sliders: open the notebook") == 2 and "needs a running kernel" not in text


# --- the HTML -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """Page -> parsed HTML, of the lecturer's edition, built without a warning."""
    if not (TOOLS / ".installed").exists():
        pytest.skip("needs Sphinx: make site")
    source, place = tmp_path_factory.mktemp("pages"), tmp_path_factory.mktemp("site")
    site.write(source)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-c", str(ROOT / "docs"), str(source), str(place)]
    environment = os.environ | {"PYTHONPATH": f"{TOOLS}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in place.rglob("*.html")}


def test_pages_ask_nothing_of_another_host(html):
    for path, page in html.items():
        asked = [tag[name] for name in ("src", "srcset", "data", "poster") for tag in page.find_all(attrs={name: True})]
        asked += [tag["href"] for tag in page.find_all("link")]
        asked += re.findall(r"@import[^;]*|url\([^)]*", "".join(tag.text for tag in page.find_all("style")))
        assert asked and not [url for url in asked if re.match(r"\s*(https?:)?//", url) or "url(http" in url], path
        assert not page.find_all(["iframe", "object", "embed"]), path
    place = min(html, key=lambda path: len(path.parts)).parent
    for file in [*place.rglob("*.css"), *place.rglob("*.js")]:
        text = file.read_text(encoding="utf-8")
        assert not re.search(
            r"""@import|url\(["']?(https?:)?//|(fetch|import)\(["']https?:|src ?= ?["']https?:""", text
        ), file


def test_every_link_of_the_html_leads_somewhere(html):
    ids = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in html.items()}
    for path, page in html.items():
        for tag in page.select("a[href], img[src], script[src], link[href]"):
            url = urlsplit(tag.get("href") or tag["src"])
            if url.scheme:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            assert target.is_file(), f"{path}: {url.geturl()}"
            if url.fragment and target in ids:
                assert unquote(url.fragment) in ids[target], f"{path}: {url.geturl()}"


def test_pictures_of_the_html_are_described(html):
    described = [len(tag.get("alt", "")) for page in html.values() for tag in page.select("article img")]
    assert len(described) > 150 and min(described) > 0


@pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs a browser")
def test_opened_as_files_it_is_found_by_search_and_fits_a_phone(html, monkeypatch):
    monkeypatch.setenv("SE_OFFLINE", "true")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    place = min(html, key=lambda path: len(path.parts)).parent
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        browser.get(f"{(place / 'search.html').as_uri()}?q=pseudo-inverse")
        found = "#search-results li a[href*='01_the_inverse']"
        WebDriverWait(browser, 60).until(lambda _: browser.find_elements("css selector", found))
        for page in sorted(path for path in html if "_modules" not in path.parts):
            browser.get(page.as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, page
