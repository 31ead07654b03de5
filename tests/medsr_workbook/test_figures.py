"""Figures show what they are given; widgets redraw them, and do not swallow errors."""

import base64
import io

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from medsr_core import degradation
from medsr_core.measures.intervals import Interval
from medsr_workbook import figures, widgets
from medsr_workbook.toys import ring


def picture(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"))


def drawn(figure):
    """What every axes with a picture shows, as arrays in [0, 1]."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_colours_looked_for_longer_are_nearer_to_the_figures_own():
    figure, file = figures.images({"": picture(1, 3, 24, 24)}), io.BytesIO()
    figure.savefig(file, format="png", dpi=84)
    true = np.asarray(Image.open(file).convert("RGB"), float)
    quick, refined = (
        np.square(np.asarray(Image.open(io.BytesIO(figures.png(figure, refine=refine))).convert("RGB")) - true).mean()
        for refine in (False, True)
    )
    assert refined < 0.8 * quick


@pytest.mark.parametrize("channels", [1, 3])
def test_images_shows_every_pixel_under_its_name(channels):
    hr, lr = picture(1, channels, 16, 12), picture(1, channels, 4, 3)
    figure = figures.images({"HR": hr, "LR": lr})
    shown = drawn(figure)
    for tensor, array in zip((hr, lr), shown, strict=True):
        assert np.allclose(array, tensor[0].permute(1, 2, 0).numpy().squeeze())
    assert [axes.get_title() for axes in figure.axes] == ["HR", "LR"]
    assert all(axes.images[0].get_interpolation() == "nearest" for axes in figure.axes)


def test_a_box_shows_the_same_region_of_small_and_large_pictures():
    hr = picture(1, 1, 16, 16)
    lr = degradation.box(4)(hr)
    shown = drawn(figures.images({"HR": hr, "LR": lr}, box=(4, 8, 4, 4)))
    assert np.allclose(shown[2], hr[0, 0, 4:8, 8:12]) and np.allclose(shown[3], lr[0, 0, 1:2, 2:3])


def test_differences_are_drawn_on_a_symmetric_scale_with_its_bar():
    figure = figures.images({"SR - HR": picture(1, 1, 8, 8) - 0.5}, signed=0.3)
    assert figure.axes[0].images[0].get_clim() == (-0.3, 0.3)
    assert figure.axes[-1].get_ylabel() == "difference"


def test_magnifier_crops_every_answer():
    hr = picture(1, 1, 32, 32)
    shown = drawn(figures.magnifier(hr, {"a": hr, "b": 1 - hr}, (8, 4, 16, 16)))
    assert np.allclose(shown[0], hr[0, 0])
    assert np.allclose(shown[1], hr[0, 0, 8:24, 4:20]) and np.allclose(shown[2], 1 - hr[0, 0, 8:24, 4:20])


@pytest.mark.parametrize(
    ("row", "column", "side", "expected"),
    [(0.5, 0.5, 8, (12, 8, 8, 8)), (0, 0, 8, (0, 0, 8, 8)), (1, 1, 8, (24, 16, 8, 8)), (0.5, 0.5, 99, (4, 0, 24, 24))],
)
def test_box_at_stays_inside(row, column, side, expected):
    assert figures.box_at(picture(1, 1, 32, 24), row, column, side) == expected


def test_curves_and_intervals_hold_their_numbers():
    axes = figures.curves([1, 2, 3], {"a": [1, 4, 9], "b": [2, 2, 2]}, xlabel="x", ylabel="y", log="y", mark=2).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [1, 4, 9] and axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    groups = {"brain": {"tv": Interval(30.0, 29.0, 31.0, 5), "bicubic": Interval(28.0, 27.0, 29.5, 5)}}
    axes = figures.intervals(groups, label="PSNR (dB)").axes[0]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[29.0, 31.0], [30.0], [27.0, 29.5], [28.0]]
    assert axes.get_title() == "brain (n = 5)" and axes.get_xlabel() == "PSNR (dB)"


def test_matrix_shows_the_operator():
    figure = figures.matrix(degradation.bicubic(4), 32)
    assert np.allclose(drawn(figure)[0], degradation.bicubic(4).rows(32))


def test_game_draws_points_and_belief():
    snapshots = list(ring.play(2, every=2))
    axes = figures.games.points(snapshots).axes
    assert [each.get_title() for each in axes] == ["step 0", "step 2", ""]  # the last is the key
    assert np.allclose(axes[1].images[0].get_array(), snapshots[1].belief)
    assert np.allclose(axes[1].collections[1].get_offsets(), snapshots[1].points)


def test_screen_shows_the_last_picture_drawn():
    screen = widgets.Screen()
    screen.draw(figures.images({"": picture(1, 1, 8, 8)}))
    first = screen.picture.value
    screen.draw(figures.images({"": picture(1, 1, 8, 8, seed=1)}))
    assert first[:4] == b"\x89PNG" and screen.picture.value != first
    assert repr(screen) == "[live picture; needs a running kernel]"


def test_png_is_small_and_true():
    gray = torch.linspace(0, 1, 256).expand(1, 1, 64, 256)
    image = pixels(figures.images({"": gray}))
    row = image[image.shape[0] // 2].astype(int)
    inside = row[20:-20]
    assert (np.abs(inside - inside[:, :1]) <= 2).all()  # gray stays gray
    assert (np.diff(inside[:, 0]) >= -2).all() and np.ptp(inside[:, 0]) > 200  # a ramp stays a ramp


def test_panel_redraws_when_a_control_moves():
    hr = picture(1, 1, 16, 16)
    panel = widgets.panel(
        lambda gain, kind: figures.images({kind: gain * hr}),
        gain=widgets.slider("gain", 0.0, 1.0, 1.0),
        kind=widgets.choice("kind", {"one": "ones", "two": "twos"}),
    )
    image = panel.children[-1]
    assert isinstance(image, ipywidgets.Image) and image.format == "png"
    first = image.value
    panel.controls["gain"].value = 0.25
    assert image.value != first
    assert np.asarray(Image.open(io.BytesIO(image.value)).convert("L"))[60:-20, 20:-20].max() < 80
    second = image.value
    panel.controls["kind"].value = "twos"
    assert image.value != second
    assert repr(panel) == "[panel: gain, kind; needs a running kernel]"


def test_an_error_in_a_panel_is_raised_where_the_control_moved():
    def draw(factor):
        return figures.images({"": degradation.bicubic(factor)(torch.zeros(1, 1, 8, 8))})

    panel = widgets.panel(draw, factor=widgets.slider("factor", 0, 4, 2))
    with pytest.raises(ValueError, match="factor is 0"):
        panel.controls["factor"].value = 0


def test_sliders_wait_until_they_are_let_go_and_keep_their_kind():
    whole, real = widgets.slider("n", 1, 8, 4), widgets.slider("sigma", 0.0, 4.0, 1.0)
    assert isinstance(whole, ipywidgets.IntSlider) and isinstance(real, ipywidgets.FloatSlider)
    assert not whole.continuous_update and not real.continuous_update
    assert real.step == pytest.approx(0.04)


def test_show_puts_the_alternative_text_beside_the_picture(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda image, metadata: shown.append((image, metadata)))
    figures.show(figures.images({"HR": picture(1, 1, 8, 8)}), alt="a scan\n  in two lines")
    assert shown[0][1] == {"image/png": {"alt": "a scan in two lines"}}
    assert shown[0][0].data[:4] == b"\x89PNG"


def test_a_panel_takes_its_first_picture_along_with_its_text():
    panel = widgets.panel(
        lambda n: figures.images({"": picture(1, 1, 16, 16) * n}),
        n=widgets.slider("n", 0.0, 1.0, 0.5),
        alt="Half\n as bright",
    )
    data, metadata = panel._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == panel.children[-1].value
    assert metadata == {"image/png": {"alt": "Half as bright"}} and "Half as bright" in panel.children[-2].value
    assert "application/vnd.jupyter.widget-view+json" in data and data["text/plain"] == repr(panel)
    data, metadata = widgets.panel(panel_of_nothing, n=widgets.slider("n", 0, 1, 0))._repr_mimebundle_()
    assert "image/png" not in data and metadata == {}


def panel_of_nothing(n):
    return figures.images({"": torch.zeros(1, 1, 8, 8)})
