"""The panels as a student meets them: in JupyterLab, in a browser, moved by the keyboard. Nothing is simulated.

One server and one browser serve all tests here. Both, and what they start, are stopped whatever happens. By default the
panels of three notebooks are moved; `MEDSR_CLASS=all .venv/bin/python -m pytest tests/test_browser.py` moves all.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import nbformat
import psutil
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

ROOT = Path(__file__).resolve().parent.parent
BROWSER = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
MISSING = [name for name, place in BROWSER.items() if place is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs a browser; not installed here: {', '.join(MISSING)}")

OPTIONS = """--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync --window-size=1400,1000"""
NAME = "01_the_inverse_problem"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SCREENS = [(1024, 700), (1280, 800)]
MOVED = [("02_metrics", *SCREENS[0]), ("05_diffusion_forward", *SCREENS[1])]
if os.environ.get("MEDSR_CLASS") == "all":
    MOVED = [(path.stem, *screen) for path in NOTEBOOKS for screen in SCREENS]
PANEL = ".jp-OutputArea-output .widget-vbox"
SLIDER = ".widget-hslider"
ERROR = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']"  # JupyterLab marks errors so, too
PIXELS = """
const [image, done] = arguments;
fetch(image.src).then(answer => answer.arrayBuffer()).then(file => crypto.subtle.digest("SHA-256", file))
    .then(digest => done(Array.from(new Uint8Array(digest)).join()), () => done(null));
"""
BROKEN = """\
from torch import zeros
from medsr_workbook import figures, widgets
widgets.panel(lambda n: figures.images({"n": zeros(1, 1, 8 // n, 8)}), n=widgets.slider("n", 0, 2, 1))
"""
STUDY = """\
from torch import rand
from medsr_workbook import reader_study, reader_widgets
methods, real = ["a", "b", "c", "d", "e"], [rand(1, 1, 208, 176)] * 2
made = {name: [rand(1, 1, 208, 176)] * 2 for name in methods}
asked = reader_study.choices(methods, 2, count=5)
reader_widgets.forced_choice(reader_study.Sheet("answers", "me", asked), made, real, exposure=30)
"""
RANKING = """\
reader_widgets.ranking(reader_study.Sheet("answers", "me", reader_study.rankings(methods, 2, count=1)), made)
"""


# --- the server and the browser -------------------------------------------------------------------------------------


def family(pid):
    """A process and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        return {psutil.Process(pid), *psutil.Process(pid).children(recursive=True)}
    return set()


@contextmanager
def stopping(pid, politely):
    """At the end, stop the process and all that it has started: politely, then for good."""
    members = family(pid)
    try:
        yield
    finally:
        members |= family(pid)
        try:
            politely()
        finally:
            for process in psutil.wait_procs(members, timeout=10)[1]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_server(process, url, log):
    for _ in range(300):
        assert process.poll() is None, f"JupyterLab has ended: {log.read_text()}"
        try:
            return urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"no answer from JupyterLab: {log.read_text()}")


def copy_notebooks(folder):
    """The notebooks without their stored output, so that what is seen was made here; one that fails; a class."""
    folder.mkdir()
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / path.name)
    for name, sources in {"broken": (BROKEN, "1 / 0"), "study": (STUDY, RANKING)}.items():
        notebook.cells = [nbformat.v4.new_code_cell(source, id=f"cell{i}") for i, source in enumerate(sources)]
        nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """JupyterLab in a folder of its own; address(notebook) is a URL that needs no login."""
    home = tmp_path_factory.mktemp("lab")
    copy_notebooks(home / "notebooks")
    port, token, log = free_port(), secrets.token_hex(16), home / "log.txt"
    places = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | places | {"JUPYTER_TOKEN": token, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # a network call less
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=home / "notebooks", env=environment, stdout=output, stderr=output, start_new_session=True
        )
    with server, stopping(server.pid, server.terminate):
        wait_for_server(server, f"http://127.0.0.1:{port}/api?token={token}", log)
        yield lambda name: f"http://127.0.0.1:{port}/lab/tree/{name}.ipynb?reset&token={token}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER["chromium"]
    for option in [*OPTIONS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_OFFLINE", "true")  # use what is installed, download nothing
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(BROWSER["chromedriver"]))
    with stopping(driver.service.process.pid, driver.quit):
        # JupyterLab's menus act on what has the focus, which a headless window need not have
        driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        driver.set_page_load_timeout(60)
        driver.set_script_timeout(10)
        yield driver


# --- what a student does and sees -----------------------------------------------------------------------------------


def wait(browser, condition, seconds, what):
    waiting = WebDriverWait(browser, seconds, 0.1, ignored_exceptions=[StaleElementReferenceException])
    return waiting.until(lambda _: condition(), f"waited {seconds} s for: {what}")


def all_of(place, selector):
    return place.find_elements(By.CSS_SELECTOR, selector)


def run_all_cells(browser, url):
    """Open a notebook, choose Run > Run All Cells, and wait until that is done or a cell has failed."""
    browser.get(url)
    wait(browser, lambda: idle(browser), 60, "the kernel")
    menu = [item for item in all_of(browser, ".lm-MenuBar-item") if item.text == "Run"]
    menu[0].click()
    command = "li[data-command='runmenu:run-all']"
    wait(browser, lambda: all_of(browser, command), 10, "the Run menu")[0].click()
    wait(browser, lambda: idle(browser) and (all_ran(browser) or all_of(browser, ERROR)), 400, "all cells to run")


def idle(browser):
    return [item for item in all_of(browser, ".jp-StatusBar-TextItem") if item.text.endswith("| Idle")]


def all_ran(browser):
    prompts = [prompt.get_attribute("textContent") for prompt in all_of(browser, ".jp-CodeCell .jp-InputPrompt")]
    return prompts and all(re.fullmatch(r"\[\d+\]:", prompt) for prompt in prompts)


def picture_of(browser, panel):
    """The panel's image, in view and loaded."""
    (picture,) = all_of(panel, "img")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    wait(browser, lambda: picture.get_property("naturalWidth"), 10, "the panel's picture")
    return picture


@contextmanager
def new_picture(browser, panel):
    """What is done inside must change the bytes of the panel's picture."""
    picture = picture_of(browser, panel)
    seen = {None, browser.execute_async_script(PIXELS, picture)}  # None: just being replaced
    yield
    wait(browser, lambda: browser.execute_async_script(PIXELS, picture) not in seen, 60, "another picture")


def press(slider, *keys):
    all_of(slider, ".noUi-handle")[0].send_keys(*keys)


def readout(slider):
    return all_of(slider, ".widget-readout")[0].text


@pytest.fixture(scope="module")
def notebook(browser, address):
    """The browser with notebook 01 open, all its cells run."""
    run_all_cells(browser, address(NAME))
    return browser


def test_every_cell_runs_without_error(notebook):
    assert all_ran(notebook)
    assert [output.text for output in all_of(notebook, ERROR)] == []


def test_panels_have_readable_labels_and_a_picture_that_is_not_stretched(notebook):
    panels = all_of(notebook, PANEL)
    assert len(panels) == 2
    for panel in panels:
        picture = picture_of(notebook, panel)
        assert picture.is_displayed() and 200 < picture.size["width"] <= picture.get_property("naturalWidth")
        labels = [label for label in all_of(panel, ".widget-label") if label.is_displayed() and label.text]
        assert len(labels) == len(all_of(panel, f"{SLIDER}, select")) >= 2
        cut = [label.text for label in labels if label.get_property("scrollWidth") > label.get_property("clientWidth")]
        assert not cut, f"labels without enough room: {cut}"


def test_an_arrow_key_on_a_slider_changes_the_picture_but_not_its_size(notebook):
    panel = all_of(notebook, PANEL)[0]
    before, blur = picture_of(notebook, panel).size, all_of(panel, SLIDER)[1]
    with new_picture(notebook, panel):
        press(blur, Keys.ARROW_RIGHT)
    assert readout(blur) == "1.04"
    assert picture_of(notebook, panel).size == before


def test_every_slider_draws_at_both_ends(notebook):
    for panel in all_of(notebook, PANEL):
        for slider in all_of(panel, SLIDER):
            for key in (Keys.END, Keys.HOME, Keys.ARROW_RIGHT):
                with new_picture(notebook, panel):
                    press(slider, key)


def test_a_list_changes_the_picture(notebook):
    panel = all_of(notebook, PANEL)[1]
    with new_picture(notebook, panel):
        Select(all_of(panel, "select")[0]).select_by_visible_text("noise")


def test_a_panel_is_seen_once_and_described(notebook):
    """The picture it takes along for pages without a kernel is not shown beside it."""
    for panel in all_of(notebook, PANEL):
        output = panel.find_element(By.XPATH, "./ancestor::*[contains(@class, 'jp-OutputArea')][1]")
        assert len(all_of(output, "img")) == 1
        assert "As first drawn: The scan" in panel.get_attribute("textContent")


def test_the_console_has_no_complaint(notebook):
    assert [entry["message"] for entry in notebook.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_what_goes_wrong_is_seen(browser, address):
    """The panel says that it cannot draw, and recovers; and the test above would notice a cell that fails."""
    run_all_cells(browser, address("broken"))
    assert "ZeroDivisionError" in all_of(browser, ERROR)[0].text
    (panel,) = all_of(browser, PANEL)
    picture, (slider,) = picture_of(browser, panel), all_of(panel, SLIDER)
    press(slider, Keys.ARROW_LEFT)
    wait(browser, lambda: "Cannot draw this: integer division" in panel.text, 20, "the panel's message")
    assert not picture.is_displayed()
    press(slider, Keys.ARROW_RIGHT)
    wait(browser, picture.is_displayed, 20, "the picture to come back")
    assert "Cannot draw" not in panel.text


@contextmanager
def window(browser, width, height):
    """The window has this size inside."""
    browser.set_window_size(width, height)
    try:
        yield
    finally:
        browser.set_window_size(1400, 1000)


def ends(slider):
    """The least and greatest value of a slider, and where it is, as its handle tells to one decimal who cannot see."""
    handle = all_of(slider, ".noUi-handle")[0]
    return [float(handle.get_attribute(f"aria-value{name}")) for name in ("min", "max", "now")]


@pytest.mark.parametrize("name, width, height", MOVED)
def test_every_panel_is_labelled_fits_and_is_moved_by_the_keyboard(browser, address, name, width, height):
    with window(browser, width, height):
        run_all_cells(browser, address(name))
        assert [output.text for output in all_of(browser, ERROR)] == []
        panels = [panel for panel in all_of(browser, PANEL) if all_of(panel, f"{SLIDER}, select")]
        assert panels
        for panel in panels:
            inside = browser.execute_script("return window.innerWidth")
            assert picture_of(browser, panel).rect["x"] + picture_of(browser, panel).rect["width"] <= inside
            labels = [label for label in all_of(panel, ".widget-label") if label.is_displayed() and label.text]
            assert len(labels) >= len(all_of(panel, f"{SLIDER}, select"))
            assert all(label.get_property("scrollWidth") <= label.get_property("clientWidth") for label in labels)
            for slider in all_of(panel, SLIDER):
                for key, end in ((Keys.HOME, 0), (Keys.END, 1)):
                    if ends(slider)[2] != ends(slider)[end]:
                        with new_picture(browser, panel):
                            press(slider, key)
                    assert float(readout(slider)) == pytest.approx(ends(slider)[end], abs=0.051)
            for choice in all_of(panel, "select"):
                before, last = Select(choice).first_selected_option.text, Select(choice).options[-1].text
                with new_picture(browser, panel):
                    choice.send_keys(Keys.ARROW_UP if before == last else Keys.ARROW_DOWN)
                assert Select(choice).first_selected_option.text != before
            assert "Cannot draw" not in panel.text
        assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("width, height", SCREENS)
def test_pictures_and_buttons_of_the_class_experiment_fit_the_screen(browser, address, width, height):
    """All at once, without scrolling; each pixel of a picture as a whole number of pixels of the page."""
    with window(browser, width, height):
        run_all_cells(browser, address("study"))
        for panel, count in zip(all_of(browser, PANEL), (2, 5), strict=True):
            start = next(button for button in all_of(panel, "button") if button.text == "start")
            browser.execute_script("arguments[0].scrollIntoView({block: 'start'})", panel)
            start.click()
            pictures = wait(browser, lambda panel=panel: all_of(panel, "figure img"), 20, "the pictures")
            assert len(pictures) == count
            inner = browser.execute_script("return [window.innerWidth, window.innerHeight]")
            seen = [each.rect for each in pictures]
            place = browser.execute_script("return arguments[0].getBoundingClientRect()", pictures[-1])
            button = browser.execute_script("return arguments[0].getBoundingClientRect()", start)
            assert place["right"] <= inner[0] and place["bottom"] <= inner[1] and button["top"] >= 0
            assert len({round(each["y"]) for each in seen}) == 1, "in one row"
            times = {
                each["width"] / picture.get_property("naturalWidth")
                for each, picture in zip(seen, pictures, strict=True)
            }
            assert len(times) == 1 and times <= {1.0, 2.0}
            assert times == {2.0} or width == 1024  # where the list of files leaves half of the window
