"""Gaussian diffusion: noise schedules, the forward process, and samplers that walk back. No network inside.

The forward process turns an image y_0 into noise in T steps (Ho et al. 2020; Saharia et al. 2021, SR3, section 2):

    q(y_t | y_{t-1}) = N(sqrt(a_t) y_{t-1}, (1 - a_t) I)        q(y_t | y_0) = N(sqrt(g_t) y_0, (1 - g_t) I)

with g_t = a_1 a_2 ... a_t. A schedule is the tensor `alpha_bar` of all g_t, t = 0 .. T, float64, from g_0 = 1 down to
g_T, about 4e-5: noise with hardly a trace of the image. g is what SR3 calls the noise level: 1 is clean, 0 all noise.

A sampler starts from noise and asks a denoiser for the image: ``denoise(y, noise_level) -> estimate of y_0`` with y
(B, C, H, W) and noise_level (B,). To take fewer steps, `shorten` the schedule: it keeps g_T and g_0, always.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[Tensor], Tensor]  # y -> noise of its shape; torch.randn_like, or noise from a seed
Report = Callable[[int, Tensor, Tensor], None]  # called after each step with its number, y and the estimate of y_0

T = 2000  # steps of SR3
LAST_LEVEL = 4e-5  # g_T: what SR3's linear schedule ends with

# --- schedules ------------------------------------------------------------------------------------------------------


def linear(steps: int = T, first: float = 1e-6, last: float = 1e-2) -> Tensor:
    """beta_t = 1 - a_t rises linearly (Ho et al. 2020). Other than 2000 steps are longer or shorter ones (ours)."""
    betas = torch.linspace(first, last, max(steps, 2), dtype=torch.float64)
    return _from_betas(betas if steps > 1 else betas.mean(0, keepdim=True))


def warm_up(steps: int = T, first: float = 1e-6, last: float = 5.4e-3, share: float = 0.1) -> Tensor:
    """beta_t rises during a share of the steps and then stays (DDPM's code; `last` ours, to end at the same g_T)."""
    rise = round(share * steps)
    betas = torch.full((steps,), last, dtype=torch.float64)
    betas[:rise] = torch.linspace(first, last, rise, dtype=torch.float64)
    return _from_betas(betas)


def cosine(steps: int = T, offset: float = 0.008, last_level: float = LAST_LEVEL) -> Tensor:
    """g_t = cos^2 of an angle that grows evenly (Nichol & Dhariwal 2021, eq. 17).

    There the angle ends at pi/2, where g = 0, and betas are cut at 0.999; here it ends where g = `last_level` (ours).
    """
    first = offset / (1 + offset) * math.pi / 2
    last = math.acos(math.sqrt(last_level) * math.cos(first))
    angle = torch.linspace(first, last, steps + 1, dtype=torch.float64)
    return angle.cos().square() / math.cos(first) ** 2


SCHEDULES: dict[str, Callable[[int], Tensor]] = {"linear": linear, "cosine": cosine, "warm-up": warm_up}


def schedule(name: str, steps: int = T) -> Tensor:
    """alpha_bar (steps + 1,) of a schedule by name; ValueError for an unknown one or no steps."""
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}; known are {', '.join(SCHEDULES)}")
    if steps < 1:
        raise ValueError(f"a schedule of {steps} steps; give 1 or more")
    return SCHEDULES[name](steps)


def shorten(alpha_bar: Tensor, steps: int) -> Tensor:
    """The noise levels of `steps` steps out of T, evenly spread, counted down from T: (steps + 1,).

    "Trailing" spacing: the last level is g_T. ("Leading" spacing would start a walk of 50 steps at t = 1960 of 2000,
    where the image shows through; cutting the betas' range instead would leave g_T = 0.6.)
    """
    longest = len(alpha_bar) - 1
    if not 1 <= steps <= longest:
        raise ValueError(f"{steps} steps of a schedule that has {longest}; give 1 to {longest}")
    return alpha_bar[(torch.arange(steps + 1, dtype=torch.float64) * longest / steps).round().long()]


def _from_betas(betas: Tensor) -> Tensor:
    """Each step does what 2000 / T steps of its beta would, so g_T stays; at T = 2000, alpha_bar of these betas."""
    alphas = (1 - betas) ** (T / len(betas))
    return torch.cat([betas.new_ones(1), alphas.cumprod(0)])


def snr(noise_level: Tensor) -> Tensor:
    """Signal-to-noise ratio g / (1 - g): the image's variance over the noise's, for an image of unit variance."""
    return noise_level / (1 - noise_level)


# --- forward --------------------------------------------------------------------------------------------------------


def diffuse(y0: Tensor, noise_level: Tensor | float, noise: Tensor) -> Tensor:
    """Draw from q(y_t | y_0) in one go: sqrt(g) y_0 + sqrt(1 - g) noise, g one number or one per image (B,)."""
    g = _per_image(noise_level, y0)
    return g.sqrt() * y0 + (1 - g).sqrt() * noise


def diffuse_step(y: Tensor, alpha: Tensor | float, noise: Tensor) -> Tensor:
    """Draw from q(y_t | y_{t-1}): one step of the forward process, alpha = a_t = g_t / g_{t-1}."""
    return diffuse(y, alpha, noise)


def level_at(alpha_bar: Tensor, u: Tensor) -> Tensor:
    """Noise levels to train on, from u (B,) uniform in [0, 1): t uniform in 1 .. T, g uniform in (g_t, g_{t-1}).

    SR3, section 2.4; one level per sample. The fraction of u T that t does not use places g within its interval.
    """
    place = u.double() * (len(alpha_bar) - 1)
    t = place.long() + 1
    return torch.lerp(alpha_bar[t], alpha_bar[t - 1], place.frac()).to(u.dtype)


def velocity(y0: Tensor, noise: Tensor, g: Tensor) -> Tensor:
    """v = sqrt(g) noise - sqrt(1 - g) y_0 (Salimans & Ho 2022, section 4)."""
    return g.sqrt() * noise - (1 - g).sqrt() * y0


# what a network predicts -> what it should have said, and the y_0 that follows from what it said
TARGETS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "noise": lambda y0, noise, g: noise,
    "velocity": velocity,
}
Y0_FROM: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "noise": lambda predicted, y, g: (y - (1 - g).sqrt() * predicted) / g.sqrt(),
    "velocity": lambda predicted, y, g: g.sqrt() * y - (1 - g).sqrt() * predicted,
}


def noise_in(y: Tensor, y0: Tensor, g: Tensor) -> Tensor:
    """The noise that y = sqrt(g) y_0 + sqrt(1 - g) noise holds."""
    return (y - g.sqrt() * y0) / (1 - g).sqrt()


# --- backward -------------------------------------------------------------------------------------------------------


def ancestral(
    denoise: Denoiser,
    y: Tensor,
    alpha_bar: Tensor,
    *,
    variance: str = "beta",
    noise: Noise = torch.randn_like,
    report: Report | None = None,
) -> Tensor:
    """Step by step as SR3's algorithm 2: y_{t-1} = (y_t - (1 - a_t) / sqrt(1 - g_t) f) / sqrt(a_t) + sigma z.

    f is the noise in y_t, z fresh noise, none in the last step. `variance` is sigma squared: "beta", 1 - a_t (SR3), or
    "posterior", that of q(y_{t-1} | y_t, y_0), (1 - g_{t-1}) / (1 - g_t) (1 - a_t) (Ho et al. 2020, eq. 7).
    """
    if variance not in ("beta", "posterior"):
        raise ValueError(f"variance is {variance!r}; give 'beta' or 'posterior'")
    for step, (g, g_next) in enumerate(_pairs(alpha_bar)):
        y0 = denoise(y, _each(g, y))
        a = g / g_next
        y = (y - (1 - a) / (1 - g).sqrt() * noise_in(y, y0, g)) / a.sqrt()
        if g_next < 1:
            shrink = (1 - g_next) / (1 - g) if variance == "posterior" else 1
            y = y + (shrink * (1 - a)).sqrt() * noise(y)
        if report:
            report(step, y, y0)
    return y


def ddim(
    denoise: Denoiser,
    y: Tensor,
    alpha_bar: Tensor,
    *,
    eta: float = 0.0,
    noise: Noise = torch.randn_like,
    report: Report | None = None,
) -> Tensor:
    """Denoising diffusion implicit model (Song et al. 2021, eq. 12 and 16).

    eta 0 adds no fresh noise; 1 adds as much as `ancestral` with the posterior variance, and is the same.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}; give 0 (no fresh noise) to 1 (the posterior variance)")
    for step, (g, g_next) in enumerate(_pairs(alpha_bar)):
        y0 = denoise(y, _each(g, y))
        fresh = eta * ((1 - g_next) / (1 - g) * (1 - g / g_next)).sqrt()
        y, old = g_next.sqrt() * y0 + (1 - g_next - fresh**2).clamp(min=0).sqrt() * noise_in(y, y0, g), y
        if eta and g_next < 1:
            y = y + fresh * noise(old)
        if report:
            report(step, y, y0)
    return y


def dpm_solver(
    denoise: Denoiser, y: Tensor, alpha_bar: Tensor, *, noise: Noise = torch.randn_like, report: Report | None = None
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): second order, by the estimate of the step before; no fresh noise.

    In terms of lambda, half the log of the signal-to-noise ratio; the first and the last step are of first order.
    """
    before: Tensor | None = None  # the last step's estimate of y_0, and its length h in lambda
    h_before = torch.zeros(())
    for step, (g, g_next) in enumerate(_pairs(alpha_bar)):
        y0 = denoise(y, _each(g, y))
        if g_next == 1:
            y = y0
        else:
            h = (snr(g_next).log() - snr(g).log()) / 2
            slope = 0 if before is None else (y0 - before) * h / (2 * h_before)
            y = ((1 - g_next) / (1 - g)).sqrt() * y - g_next.sqrt() * torch.expm1(-h) * (y0 + slope)
            before, h_before = y0, h
        if report:
            report(step, y, y0)
    return y


SAMPLERS: dict[str, Callable[..., Tensor]] = {"ancestral": ancestral, "ddim": ddim, "dpm++": dpm_solver}


def sampler(name: str) -> Callable[..., Tensor]:
    """A sampler by name; ValueError for an unknown one."""
    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}; known are {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


def options(name: str) -> list[str]:
    """What only this sampler takes, such as ddim its eta: keywords other than noise and report, which all take."""
    keywords = [p.name for p in inspect.signature(sampler(name)).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return [keyword for keyword in keywords if keyword not in ("noise", "report")]


def _pairs(alpha_bar: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(g_t, g_{t-1}) from t = T down to 1: float64 numbers, since 1 - a_t of neighbours is about 1e-6."""
    levels = alpha_bar.double().cpu().flip(0)
    return list(itertools.pairwise(levels))


def _each(g: Tensor, y: Tensor) -> Tensor:
    return torch.full((len(y),), float(g), dtype=y.dtype, device=y.device)


def _per_image(level: Tensor | float, y: Tensor) -> Tensor:
    g = torch.as_tensor(level, dtype=y.dtype, device=y.device)
    return g.view(-1, 1, 1, 1) if g.ndim else g
