"""Schedules, forward process and samplers against diffusers, against formulas, and on densities with a known answer."""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from medsr_core import diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with numpy 2
MEAN, SPREAD = 0.3, 0.5  # of y_0 in the tests with a known answer
SHAPE = (2, 1, 6, 5)


def g_of(*seed):
    return torch.Generator().manual_seed(*seed or (0,))


def normal(*shape, seed=0):
    return torch.randn(shape or SHAPE, generator=g_of(seed), dtype=torch.float64)


def ideal(mean=MEAN, spread=SPREAD):
    """The exact denoiser of y_0 ~ N(mean, spread^2): E[y_0 | y_t]."""

    def denoise(y, noise_level):
        g = noise_level.view(-1, 1, 1, 1)
        return mean + spread**2 * g.sqrt() / (g * spread**2 + 1 - g) * (y - g.sqrt() * mean)

    return denoise


def walk(name, y, alpha_bar, denoise=None, **options):
    """Every y on the way of one of our samplers."""
    passed = []
    options["report"] = lambda step, y, y0: passed.append(y)
    diffusion.sampler(name)(denoise or ideal(), y, alpha_bar, **options)
    return passed


# --- schedules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first, last", [(1e-6, 1e-2), (1e-4, 5e-3)])
def test_linear_schedule_is_that_of_diffusers(first, last):
    theirs = DDPMScheduler(2000, beta_start=first, beta_end=last).alphas_cumprod
    ours = diffusion.linear(2000, first, last)
    assert len(ours) == 2001 and ours[0] == 1
    assert (ours[1:] - theirs).abs().max() < 1e-5


def test_cosine_schedule_is_the_papers_but_for_its_end():
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    paper = ((t + 0.008) / 1.008 * math.pi / 2).cos().square()
    ours = diffusion.cosine(2000)
    assert (ours - paper / paper[0]).abs().max() < 5e-3
    # a straight line in the angle
    angle = (ours.sqrt() * paper[0].sqrt()).acos()
    assert (angle.diff() - angle.diff().mean()).abs().max() < 1e-9


def test_warm_up_schedule_rises_for_a_tenth_and_stays():
    betas = 1 - diffusion.warm_up(2000)[1:] / diffusion.warm_up(2000)[:-1]
    assert betas[:200].diff().min() > 0 and betas[0] == pytest.approx(1e-6)
    torch.testing.assert_close(betas[200:], torch.full((1800,), 5.4e-3, dtype=torch.float64))


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 4, 10, 50, 1000, 2000, 4000])
def test_schedules_fall_from_1_to_almost_0_with_any_number_of_steps(name, total):
    alpha_bar = diffusion.schedule(name, total)
    assert alpha_bar.shape == (total + 1,) and alpha_bar.dtype == torch.float64
    assert alpha_bar[0] == 1 and alpha_bar.diff().max() < 0
    assert 1.5e-5 < alpha_bar[-1] < 6e-5


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
def test_fewer_steps_keep_both_ends_and_all_steps_are_the_schedule(name):
    full = diffusion.schedule(name)
    for steps in (1, 2, 3, 7, 10, 37, 100, 1234, 1999):
        short = diffusion.shorten(full, steps)
        assert len(short) == steps + 1 and short[0] == 1 and short[-1] == full[-1]
        assert 3e-5 < short[-1] < 5e-5
        assert short.diff().max() < 0 and torch.isin(short, full).all()
    assert torch.equal(diffusion.shorten(full, 2000), full)


@pytest.mark.parametrize("steps", [4, 7, 10, 50, 100])
def test_fewer_steps_are_trailing(steps):
    scheduler = DPMSolverMultistepScheduler(2000, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    at = (diffusion.shorten(torch.arange(2001), steps).flip(0)[:-1] - 1).tolist()  # t = 1 .. T is 0 .. T - 1 there
    assert at == scheduler.timesteps.tolist()


# --- forward --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
def test_many_small_steps_are_one_large_one(name):
    """Exactly: what a step does to y_0 = 1 without noise, and to noise alone, is the step."""
    alpha_bar = diffusion.schedule(name)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    mean, variance = one, zero
    for t in range(1, 2001):
        alpha = alpha_bar[t] / alpha_bar[t - 1]
        mean = diffusion.diffuse_step(mean, alpha, zero)
        variance = diffusion.diffuse_step(zero, alpha, one) ** 2 + alpha * variance
        if t in (1, 100, 1000, 2000):
            g = alpha_bar[t]
            torch.testing.assert_close(mean, diffusion.diffuse(one, g, zero), rtol=1e-9, atol=0)
            torch.testing.assert_close(mean, g.sqrt().view(1), rtol=1e-9, atol=0)
            torch.testing.assert_close(variance, diffusion.diffuse(zero, g, one) ** 2, rtol=1e-9, atol=0)
            torch.testing.assert_close(variance, (1 - g).view(1), rtol=1e-9, atol=0)


def test_many_small_steps_are_one_large_one_in_the_moments_of_pixels():
    alpha_bar, y, generator = diffusion.schedule("linear", 8), torch.full((40_000,), 2.0), g_of(1)
    for t in range(1, 6):
        y = diffusion.diffuse_step(y, float(alpha_bar[t] / alpha_bar[t - 1]), torch.randn(y.shape, generator=generator))
    g = alpha_bar[5].item()
    assert y.mean().item() == pytest.approx(2 * math.sqrt(g), abs=4 / 200)  # 4 standard errors
    assert y.var().item() == pytest.approx(1 - g, rel=4 * math.sqrt(2 / 40_000))


def test_each_image_has_its_own_noise_level():
    y0, noise, levels = normal(), normal(seed=1), torch.tensor([0.9, 0.04], dtype=torch.float64)
    y = diffusion.diffuse(y0, levels, noise)
    for i, g in enumerate(levels.tolist()):
        torch.testing.assert_close(y[i], math.sqrt(g) * y0[i] + math.sqrt(1 - g) * noise[i])
        torch.testing.assert_close(y[i : i + 1], diffusion.diffuse(y0[i : i + 1], g, noise[i : i + 1]))


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
def test_training_levels_are_uniform_within_each_step(name):
    """u in [k / T, (k + 1) / T) is t = k + 1, and g runs evenly from g_t to g_{t-1}: SR3's section 2.4."""
    alpha_bar = diffusion.schedule(name)
    inside = torch.tensor([0.0, 0.25, 0.5, 0.75], dtype=torch.float64)
    for k in (0, 1, 777, 1999):
        low, high = alpha_bar[k + 1], alpha_bar[k]
        levels = diffusion.level_at(alpha_bar, (k + inside + 1e-9) / 2000)
        torch.testing.assert_close(levels, low + inside * (high - low), rtol=0, atol=1e-9)
    u = torch.rand(20_000, generator=g_of(2))
    levels = diffusion.level_at(alpha_bar, u)
    assert levels.shape == u.shape and levels.dtype == u.dtype and levels.unique().numel() > 19_000
    assert levels.min() >= alpha_bar[-1] and levels.max() <= 1
    t = torch.searchsorted(-alpha_bar, -levels.double())
    counts = torch.bincount((t - 1).clamp(0, 1999) // 100, minlength=20)  # 20 bins of 1000 expected
    assert counts.numel() == 20 and ((counts - 1000) ** 2 / 1000).sum() < 43.8  # chi squared, 19 degrees: p = 0.001


@pytest.mark.parametrize("predicts", diffusion.TARGETS)
def test_what_a_network_should_say_leads_back_to_y0(predicts):
    y0, noise = normal(), normal(seed=1)
    for level in (4e-5, 0.3, 0.999):
        g = torch.tensor(level, dtype=torch.float64)
        y = diffusion.diffuse(y0, g, noise)
        said = diffusion.TARGETS[predicts](y0, noise, g)
        torch.testing.assert_close(diffusion.Y0_FROM[predicts](said, y, g), y0, rtol=0, atol=1e-9)
        torch.testing.assert_close(diffusion.noise_in(y, y0, g), noise, rtol=0, atol=1e-9)
    assert predicts != "noise" or torch.equal(said, noise)


def test_velocity_is_that_of_diffusers():
    y0, noise, scheduler = normal(), normal(seed=1), DDPMScheduler(1000)
    t = torch.tensor([10, 900])
    g = scheduler.alphas_cumprod[t].double().view(-1, 1, 1, 1)
    assert (diffusion.velocity(y0, noise, g) - scheduler.get_velocity(y0, noise, t)).abs().max() < 1e-5
    assert (diffusion.diffuse(y0, g.flatten(), noise) - scheduler.add_noise(y0, noise, t)).abs().max() < 1e-5


def test_signal_to_noise_ratio():
    assert diffusion.snr(torch.tensor([0.5, 0.8, 0.0])).tolist() == pytest.approx([1, 4, 0])


# --- samplers against diffusers -----------------------------------------------------------------------------------


def theirs(scheduler, alpha_bar, steps, y, generator, **options):
    """Every y on the way of a sampler of diffusers, on our schedule in double precision, with the ideal denoiser."""
    scheduler.alphas_cumprod, scheduler.one = alpha_bar[1:], torch.ones((), dtype=torch.float64)
    scheduler.set_timesteps(steps)
    passed = []
    for t in scheduler.timesteps:
        y0 = ideal()(y, alpha_bar[t + 1].expand(len(y)))
        y = scheduler.step(y0, t, y, generator=generator, **options).prev_sample
        passed.append(y)
    return passed


def noise_of(generator):
    return lambda y: torch.randn(y.shape, generator=generator, dtype=y.dtype)


def agree(ours, theirs):
    assert len(ours) == len(theirs)
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)) < 1e-5


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [10, 50, 200])
@pytest.mark.parametrize("variance, name_there", [("beta", "fixed_large"), ("posterior", "fixed_small")])
def test_ancestral_is_ddpm(name, steps, variance, name_there):
    alpha_bar, y = diffusion.schedule(name, 200), normal()
    scheduler = DDPMScheduler(
        200, variance_type=name_there, clip_sample=False, prediction_type="sample", timestep_spacing="trailing"
    )
    reference = theirs(scheduler, alpha_bar, steps, y, g_of(5))
    ours = walk("ancestral", y, diffusion.shorten(alpha_bar, steps), variance=variance, noise=noise_of(g_of(5)))
    if variance == "beta" and steps < 200:  # of fewer steps the last gets noise there; SR3's algorithm 2 adds none
        assert (ours[-1] - ideal()(ours[-2], diffusion.shorten(alpha_bar, steps)[1:2].expand(2))).abs().max() < 1e-9
        ours, reference = ours[:-1], reference[:-1]
    assert agree(ours, reference)


def test_ancestral_has_ddpms_posterior_mean():
    """Ho et al. 2020, eq. 7: the mean of q(y_{t-1} | y_t, y_0), with the y_0 that the denoiser says."""
    alpha_bar, y = diffusion.schedule("linear"), normal()
    for t in (2, 500, 2000):
        g, before = alpha_bar[t], alpha_bar[t - 1]
        y0 = ideal()(y, g.expand(2))
        a, beta = g / before, 1 - g / before
        mean = before.sqrt() * beta / (1 - g) * y0 + a.sqrt() * (1 - before) / (1 - g) * y
        levels = torch.stack([before, g])
        ours = diffusion.ancestral(ideal(), y, levels, noise=torch.zeros_like)
        torch.testing.assert_close(ours, mean, rtol=0, atol=1e-9)
        for variance, expected in (("beta", beta), ("posterior", (1 - before) / (1 - g) * beta)):
            noisy = diffusion.ancestral(ideal(), y, levels, noise=torch.ones_like, variance=variance)
            torch.testing.assert_close(noisy - ours, expected.sqrt().expand(SHAPE), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [4, 50, 200])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_that_of_diffusers(name, steps, eta):
    alpha_bar, y = diffusion.schedule(name, 200), normal()
    scheduler = DDIMScheduler(200, clip_sample=False, prediction_type="sample", timestep_spacing="trailing")
    reference = theirs(scheduler, alpha_bar, steps, y, g_of(5), eta=eta)
    ours = walk("ddim", y, diffusion.shorten(alpha_bar, steps), eta=eta, noise=noise_of(g_of(5)))
    assert agree(ours, reference)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 10, 37])
def test_dpm_solver_is_that_of_diffusers(name, steps):
    alpha_bar, y = diffusion.schedule(name), normal()
    scheduler = DPMSolverMultistepScheduler(2000, prediction_type="sample", timestep_spacing="trailing")
    reference = theirs(scheduler, alpha_bar, steps, y, None)
    assert agree(walk("dpm++", y, diffusion.shorten(alpha_bar, steps)), reference)


def test_ddim_with_eta_1_is_the_posterior_ancestral_sampler():
    alpha_bar, y = diffusion.shorten(diffusion.schedule("cosine"), 20), normal()
    ddim = diffusion.ddim(ideal(), y, alpha_bar, eta=1, noise=noise_of(g_of(3)))
    ancestral = diffusion.ancestral(ideal(), y, alpha_bar, variance="posterior", noise=noise_of(g_of(3)))
    torch.testing.assert_close(ddim, ancestral, rtol=0, atol=1e-9)


def test_float32_images_walk_as_float64_ones():
    """The coefficients are float64 all the same: 1 - a_t of neighbours is 1e-6, below float32's steps at 1."""
    alpha_bar, y = diffusion.schedule("linear"), normal()
    exact = diffusion.ancestral(ideal(), y, alpha_bar, noise=torch.zeros_like)
    single = diffusion.ancestral(ideal(), y.float(), alpha_bar, noise=torch.zeros_like)
    assert single.dtype == torch.float32 and (single - exact).abs().max() < 1e-3


# --- samplers on a density with a known answer --------------------------------------------------------------------


def moments(name, alpha_bar, **options):
    """Mean and spread of what a sampler draws, exactly: it is linear in y_T and each noise, so one impulse tells each.

    It starts from q(y_T) itself, so that only the sampler's error is left.
    """
    g, steps = alpha_bar[-1], len(alpha_bar) - 1
    y = (g.sqrt() * MEAN).repeat(steps + 2, 1, 1, 1)
    y[1] += (g * SPREAD**2 + 1 - g).sqrt()
    calls = iter(range(2, steps + 2))

    def impulse(y):
        noise = torch.zeros_like(y)
        noise[next(calls)] = 1
        return noise

    drawn = diffusion.sampler(name)(ideal(), y, alpha_bar, noise=impulse, **options).flatten()
    return drawn[0].item(), (drawn[1:] - drawn[0]).square().sum().sqrt().item()


@pytest.mark.parametrize("schedule", diffusion.SCHEDULES)
@pytest.mark.parametrize(
    "name, options, steps, error",  # error of the spread, relative; of first order but for dpm++
    [
        ("ancestral", {"variance": "beta"}, 500, 0.01),
        ("ancestral", {"variance": "posterior"}, 500, 0.04),
        ("ddim", {"eta": 0.0}, 500, 0.02),
        ("ddim", {"eta": 0.5}, 500, 0.02),
        ("ddim", {"eta": 1.0}, 500, 0.04),
        ("dpm++", {}, 100, 0.01),
    ],
)
def test_samplers_draw_from_the_density_that_the_denoiser_knows(schedule, name, options, steps, error):
    mean, spread = moments(name, diffusion.shorten(diffusion.schedule(schedule), steps), **options)
    assert mean == pytest.approx(MEAN, abs=1e-6)
    assert spread == pytest.approx(SPREAD, rel=error)


@pytest.mark.parametrize("name, order", [("ddim", 1), ("dpm++", 2)])
def test_order_of_convergence(name, order):
    """On the probability-flow ODE, whose solution keeps a pixel's quantile, in even steps of lambda."""
    errors = []
    for steps in (80, 160, 320):
        half_log_snr = torch.linspace(2.3, -5.0, steps + 1, dtype=torch.float64)
        alpha_bar = torch.sigmoid(2 * half_log_snr)
        start, end = ((g.sqrt() * MEAN, (g * SPREAD**2 + 1 - g).sqrt()) for g in (alpha_bar[-1], alpha_bar[0]))
        y = (start[0] + 1.3 * start[1]).view(1, 1, 1, 1)
        reached = diffusion.sampler(name)(ideal(), y, alpha_bar)
        errors.append(abs(reached.item() - (end[0] + 1.3 * end[1]).item()))
    for larger, smaller in itertools.pairwise(errors):
        assert larger / smaller == pytest.approx(2**order, rel=0.05)


def test_posterior_samples_lose_3_db_to_their_mean_and_a_mean_of_n_loses_10_log_1_plus_1_over_n():
    """Blau & Michaeli 2018. The truth is drawn from the posterior too; its mean is known, so MSE is by hand."""
    size, spread = (1, 1, 128, 128), 0.4
    mean = normal(*size, seed=1)
    truth = mean + spread * normal(*size, seed=3)
    alpha_bar, y = diffusion.shorten(diffusion.schedule("cosine"), 100), normal(8, *size[1:], seed=4)
    drawn = diffusion.ancestral(ideal(mean, spread), y, alpha_bar, noise=noise_of(g_of(5)))

    def loss(estimate):
        """Decibels below the posterior mean."""
        errors = [(image - truth).square().mean() for image in (estimate, mean)]
        return 10 * torch.log10(errors[0] / errors[1]).item()

    assert loss(drawn[:1]) == pytest.approx(10 * math.log10(2), abs=0.12)
    for n in (2, 4, 8):
        assert loss(drawn[:n].mean(0, keepdim=True)) == pytest.approx(10 * math.log10(1 + 1 / n), abs=0.12)
    # a sampler that leaves its noise out collapses: little to lose, and hardly any spread
    collapsed = diffusion.ancestral(ideal(mean, spread), y[:2], alpha_bar, noise=torch.zeros_like)
    assert loss(collapsed[:1]) < 0.3 and (collapsed[0] - collapsed[1]).std() < 0.3 * spread


def test_each_image_of_a_batch_is_returned():
    y = normal(3, 1, 4, 4)
    alpha_bar = diffusion.shorten(diffusion.schedule("cosine"), 6)
    for name in diffusion.SAMPLERS:
        batch = diffusion.sampler(name)(ideal(), y, alpha_bar, noise=torch.zeros_like)
        alone = [diffusion.sampler(name)(ideal(), image[None], alpha_bar, noise=torch.zeros_like) for image in y]
        torch.testing.assert_close(batch, torch.cat(alone))


def test_denoiser_is_asked_once_a_step_at_the_level_of_y():
    alpha_bar = diffusion.shorten(diffusion.schedule("linear"), 5)
    for name in diffusion.SAMPLERS:
        asked, steps = [], []

        def denoise(y, noise_level, asked=asked):
            asked.append(noise_level)
            return ideal()(y, noise_level)

        report = lambda step, y, y0, steps=steps: steps.append(step)  # noqa: E731
        diffusion.sampler(name)(denoise, normal(), alpha_bar, report=report)
        assert steps == [0, 1, 2, 3, 4]
        torch.testing.assert_close(torch.stack(asked), alpha_bar.flip(0)[:-1, None].expand(5, 2))


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: diffusion.schedule("sigmoid"), "sigmoid.*linear, cosine, warm-up"),
        (lambda: diffusion.schedule("linear", 0), "1 or more"),
        (lambda: diffusion.shorten(diffusion.schedule("cosine"), 0), "0 steps.*1 to 2000"),
        (lambda: diffusion.shorten(diffusion.schedule("cosine"), 2001), "2001 steps.*1 to 2000"),
        (lambda: diffusion.sampler("euler"), r"euler.*ancestral, ddim, dpm\+\+"),
        (lambda: diffusion.ancestral(ideal(), normal(), torch.ones(3), variance="large"), "'beta' or 'posterior'"),
        (lambda: diffusion.ddim(ideal(), normal(), torch.ones(3), eta=1.5), "1.5.*0 .* to 1"),
        (lambda: diffusion.ddim(ideal(), normal(), torch.ones(3), eta=-0.1), "-0.1"),
    ],
)
def test_errors_name_the_choices(call, message):
    with pytest.raises(ValueError, match=message):
        call()
