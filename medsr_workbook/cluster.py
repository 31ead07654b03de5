"""Work spread over processes of this machine, or over a dask cluster: what `medsr sweep` and `medsr evaluate` share.

dask.distributed does the spreading: it hands out tasks, notices a worker that died and gives its tasks to another. Ours
is only to ask for a bit at a time, so that ten thousand tasks do not lie in the scheduler's memory, and to hand back
what went wrong beside what went well.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsr_core.measures import evaluation

if TYPE_CHECKING:
    from distributed import Client

    from data_fetch import sets

SECONDS_TO_CONNECT = 10
SHARDS_PER_THREAD = 8  # small enough that nobody waits long for the last, large enough that handing out costs nothing


@contextmanager
def client(scheduler: str | None = None, workers: int | None = None, *, folder: Path | None = None) -> Iterator[Client]:
    """A dask client: of the cluster at `scheduler` (tcp://...), else of `workers` processes here (one for each core).

    folder : which all workers must see, where results go

    Raises
    ------
    ValueError : dask is not installed; nobody answers at `scheduler`, or it has no workers; they have another medsr or
        do not see `folder`
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise ValueError("this needs dask, which is an extra: python -m pip install distributed") from None
    dask.config.set({"logging.distributed": "critical", "distributed.comm.timeouts.connect": SECONDS_TO_CONNECT})
    if scheduler:
        with _connected(Client, scheduler) as connected:
            _check(connected, scheduler, folder)
            yield connected
        return
    workers = workers or os.cpu_count() or 1
    processes = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": None, "silence_logs": 50}
    with LocalCluster(**processes, dashboard_address="127.0.0.1:0") as cluster, Client(cluster) as connected:
        yield connected


def _connected(kind: type[Client], scheduler: str) -> Client:
    try:
        return kind(scheduler, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError):
        start = f"start one (dask scheduler) and workers (dask worker {scheduler}), or leave --scheduler out"
        raise ValueError(f"no dask scheduler answers at {scheduler}; {start}") from None


def _check(connected: Client, scheduler: str, folder: Path | None) -> None:
    """Refuse, before the work, a cluster that cannot do it."""
    try:
        seen = connected.run(_introduce, folder).values()
    except Exception as error:  # the workers' own words, as text
        raise ValueError(f"the workers of {scheduler} lack something ({error}); install medsr there") from None
    if not seen:
        raise ValueError(f"{scheduler} has no workers; start some: dask worker {scheduler}")
    if others := {theirs for theirs, _ in seen} - {version("medsr")}:
        raise ValueError(f"the workers have medsr {', '.join(others)}; install {version('medsr')} there, as here")
    if not all(visible for _, visible in seen):
        raise ValueError(f"the workers do not see {folder}; name a folder on a disk that all of them share")


def _introduce(folder: Path | None) -> tuple[str, bool]:
    """What a worker says of itself: its medsr, and whether it sees the folder."""
    return version("medsr"), folder is None or folder.is_dir()


def each(client: Client, function: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
    """``function(*call)`` for every call, on the workers: (which call, its result), in the order in which they end.

    A call that raised, or on which four workers died, gives the exception in place of a result. At most two calls for
    each thread are out at a time, also when workers join or leave.

    Raises
    ------
    ValueError : the scheduler went away
    """
    from distributed import as_completed

    waiting, number, ended = iter(enumerate(calls)), {}, as_completed()

    def hand_out() -> None:
        room = 2 * max(1, sum(client.nthreads().values())) - ended.count()
        for index, call in itertools.islice(waiting, max(room, 0)):
            future = client.submit(function, *call, pure=False)
            number[future.key] = index
            ended.add(future)

    hand_out()
    for future in ended:
        if future.cancelled():
            raise ValueError("the scheduler went away; start it again, then call this again: it goes on")
        yield number.pop(future.key), future.exception() or future.result()
        future.release()
        hand_out()


def evaluate(
    client: Client,
    scans: sets.ImageSet,
    methods: Sequence[str],
    *,
    report: Callable[[str, int, int], None],
    **options: Any,
) -> list[dict[str, Any]]:
    """`evaluation.evaluate` with the images shared out: the scores of one process with one thread, in its order.

    scans : only names travel, each worker opens its images itself, at the place they have here
    options : as `evaluation.evaluate` takes them; it raises what that raises
    """
    size = max(1, len(scans) // (SHARDS_PER_THREAD * max(1, sum(client.nthreads().values()))))
    shards = [scans[start : start + size] for start in range(0, len(scans), size)]
    scores: dict[int, list[dict[str, Any]]] = {}
    report(scans.name, 0, len(scans))
    for index, outcome in each(client, _score, [(shard, methods, options) for shard in shards]):
        if isinstance(outcome, BaseException):
            raise outcome
        scores[index], warned = outcome
        for message in warned:
            warnings.warn(message, stacklevel=2)
        report(shards[index].entries[-1].name, sum(len(shards[each]) for each in scores), len(scans))
    rows = [row for index in sorted(scores) for row in scores[index]]
    return rows or evaluation.evaluate(scans[:0], methods, **options)  # which raises


def _score(
    shard: sets.ImageSet, methods: Sequence[str], options: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """On a worker: the scores of some images, and the warnings. One thread, since two sum up in another order."""
    import torch

    torch.set_num_threads(1)
    rows = []
    with warnings.catch_warnings(record=True, action="always") as caught, suppress(evaluation.NothingToScore):
        rows = evaluation.evaluate(shard, methods, **options)
    return rows, [str(warning.message) for warning in caught]
