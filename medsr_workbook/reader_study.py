"""The class as the measuring instrument: which picture is real, and which is better?

Three experiments. In *forced choice* a student sees a real scan and a restored one side by side, in random order, and
says which is real ("choice"), or, with the LR image between them, which of the two belongs to it ("fits"); the share of
wrong answers is the method's **fool rate**, 50 % if nobody can tell (SR3's two questions: Saharia et al. 2021, section
4.4, pictures shown for 3 seconds). In *ranking* a student puts several restorations of one
scan in order; Kendall's tau says how far a measure agrees.

Every student has one JSON file per experiment in a common folder, whole after each answer; `fool_rates` and `agreement`
read the folder. The buttons are in `reader_widgets`. `simulate` stands in for a class.
"""

from __future__ import annotations

import getpass
import itertools
import json
import math
import platform
import re
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from medsr_core.files import write_whole
from medsr_core.measures.intervals import Interval, bootstrap
from medsr_core.seeds import mix

Question = dict[str, Any]
Scores = Mapping[str, Sequence[float]]  # method -> one number per image, less is better

# --- questions and answers ------------------------------------------------------------------------------------------


def choices(
    methods: Sequence[str], images: int, *, count: int = 20, student: str = "", seed: int = 0, fits: bool = False
) -> list[Question]:
    """Questions of a forced choice: {"method", "image" (0 to images - 1), "real" ("left" or "right")}.

    fits : ask which picture belongs to the LR image, not which is real; then also {"fits": True}

    Each method is asked about equally often (`count` is rounded up to a multiple of their number), and of each method
    no image a second time before all others; order, images and sides are shuffled, for each student differently.
    Raises ValueError without methods, images or questions.
    """
    _check_enough(methods, images, count)
    g = _generator(student, seed)
    each = math.ceil(count / len(methods))
    asked = []
    for method in methods:
        turns = torch.cat([torch.randperm(images, generator=g) for _ in range(math.ceil(each / images))])[:each]
        asked += [{"method": method, "image": int(i)} for i in turns]
    sides = torch.randint(2, (len(asked),), generator=g).tolist()
    order = torch.randperm(len(asked), generator=g).tolist()
    kind = {"fits": True} if fits else {}
    return [asked[i] | {"real": ("left", "right")[side]} | kind for i, side in zip(order, sides, strict=True)]


def rankings(
    methods: Sequence[str], images: int, *, count: int = 4, student: str = "", seed: int = 0
) -> list[Question]:
    """Questions of a ranking: {"image", "shown": the methods in the order in which they stand before the student}.

    No image twice, so there are at most as many questions as images. Raises ValueError without methods, images or
    questions.
    """
    _check_enough(methods, images, count)
    g = _generator(student, seed)
    which = [int(i) for i in torch.randperm(images, generator=g)[:count]]
    return [{"image": i, "shown": [methods[k] for k in torch.randperm(len(methods), generator=g)]} for i in which]


def _check_enough(methods: Sequence[str], images: int, count: int) -> None:
    if not methods or images < 1 or count < 1:
        raise ValueError(f"{len(methods)} methods, {images} images, {count} questions: at least one of each, please")


def place(answers: str | Path, student: str, *setting: Any) -> Path:
    """The class's folder; or, if `answers` is empty, one that stays, with all answers, until this kernel ends.

    setting : what the questions depend on (data, seed, ...): with another one, other questions are answered elsewhere

    Raises ValueError for a student called "me" in a class's folder: so is everybody who gave no name.
    """
    if answers and student == "me":
        raise ValueError('student is "me", as everybody is at first; in a folder for the class, take a nickname')
    return Path(answers or _scratch(*setting).name)


@cache
def _scratch(*setting: Any) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


class Sheet:
    """One student's answers to one experiment, in a file that is replaced in one go after every answer.

    Opened again it goes on after the last answer. Raises ValueError for a name that is no file name, or if the file
    holds answers to other questions, or of a student of the same name elsewhere (another computer or account); `answer`
    also if the file has got answers since (a second tab).
    """

    def __init__(self, folder: str | Path, student: str, questions: Sequence[Question]):
        if not re.fullmatch(r"[\w-]{1,40}", student):
            raise ValueError(f"student is {student!r}; give up to 40 letters, digits, - or _, a nickname will do")
        self.student, self.questions, self.answers = student, list(questions), list[Any]()
        first = self.questions[0]
        self.experiment = "ranking" if "shown" in first else "fits" if first.get("fits") else "choice"
        self.path = Path(folder) / f"{student}-{self.experiment}.json"
        self.answers = self._stored()

    def _stored(self) -> list[Any]:
        if not self.path.exists():
            return []
        stored = _read(self.path)
        if stored.get("at", _here()) != _here():
            raise ValueError(f"{self.path} is of another student called {self.student}; take another nickname")
        if stored["questions"] != self.questions:
            raise ValueError(f"{self.path} answers other questions; take another name, or delete the file")
        return list(stored["answers"])

    @property
    def question(self) -> Question | None:
        """The one to be answered now, None at the end."""
        return self.questions[len(self.answers)] if len(self.answers) < len(self.questions) else None

    def answer(self, value: Any, seconds: float | None = None) -> None:
        """Keep the answer: "left" or "right" is real; or all methods, best first. `seconds`: how long it took."""
        if self.question is None:
            raise ValueError("all questions are answered")
        if self.experiment != "ranking" and value not in ("left", "right"):
            raise ValueError(f"the answer is {value!r}; give 'left' or 'right'")
        if self.experiment == "ranking" and sorted(value) != sorted(self.question["shown"]):
            raise ValueError(f"the answer is {value!r}; give each of {', '.join(self.question['shown'])} once")
        if len(self._stored()) > len(self.answers):
            raise ValueError(f"{self.path} has newer answers; run the cell again to go on after them")
        answers = [*self.answers, {"answer": value, "seconds": seconds and round(seconds, 2)}]
        stored = {"student": self.student, "at": _here(), "questions": self.questions, "answers": answers}
        write_whole(self.path, json.dumps(stored, ensure_ascii=False))
        self.answers = answers  # only what is in the file counts as answered


def _here() -> int:
    """A number for this computer and account, to tell two students of one name apart; says nothing about either."""
    return zlib.crc32(f"{getpass.getuser()}@{platform.node()}".encode())


def _generator(student: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(mix(seed, zlib.crc32(student.encode())))


# --- the class ------------------------------------------------------------------------------------------------------


class Rate(NamedTuple):
    """How often students took a method's picture for the real one, with Wilson's 95 % interval (Wilson 1927)."""

    fooled: int
    shown: int
    rate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.rate:.0%} [{self.low:.0%}, {self.high:.0%}] ({self.fooled} of {self.shown})"


def rate(fooled: int, shown: int) -> Rate:
    """Share and interval of `fooled` in `shown` independent answers."""
    from scipy.stats import binomtest

    interval = binomtest(fooled, shown).proportion_ci(0.95, method="wilson")
    return Rate(fooled, shown, fooled / shown, float(interval.low), float(interval.high))


def fool_rates(folder: str | Path, experiment: str = "choice") -> dict[str, Rate]:
    """Fool rate of every method over all students whose files are in `folder`; who stopped half-way counts thus far.

    experiment : "choice" (which is real?) or "fits" (which belongs to the LR image?)

    The interval takes all answers for independent. Answers of one student are not quite, so it is a little too narrow.
    """
    counts: dict[str, list[int]] = {}
    for sheet in _sheets(folder, experiment):
        for question, given in zip(sheet["questions"], sheet["answers"], strict=False):
            count = counts.setdefault(question["method"], [0, 0])
            count[0] += given["answer"] != question["real"]
            count[1] += 1
    return {method: rate(*count) for method, count in sorted(counts.items())}


def agreement(folder: str | Path, measures: Mapping[str, Scores]) -> dict[str, Interval]:
    """Kendall's tau between the students' order and each measure's: 1 the same, 0 unrelated, -1 reversed.

    measures : name -> method -> one score per image, *less is better*; ValueError if a ranked method has none

    The mean over a student's rankings is one value; the 95 % interval is a bootstrap over students. A ranking in which
    the measure finds all equal counts as 0.
    """
    from scipy.stats import kendalltau

    taus: dict[str, list[float]] = {name: [] for name in measures}
    for sheet in _sheets(folder, "ranking"):
        if not sheet["answers"]:
            continue
        for name, scores in measures.items():
            values = []
            for question, given in zip(sheet["questions"], sheet["answers"], strict=False):
                if unknown := [method for method in given["answer"] if method not in scores]:
                    raise ValueError(f"{name} has no scores of {', '.join(unknown)}; it has of {', '.join(scores)}")
                badness = [scores[method][question["image"]] for method in given["answer"]]
                tau = kendalltau(range(len(badness)), badness).statistic
                values.append(0.0 if math.isnan(tau) else float(tau))
            taus[name].append(sum(values) / len(values))
    return {name: bootstrap(values) for name, values in taus.items()}


def gather(folder: str | Path, files: Mapping[str, bytes]) -> list[str]:
    """Put sheets that came as files (name -> content) into `folder`; returns their names there.

    A second student of the same name gets a number: nobody's answers replace another's. The same file twice, or a
    sheet that goes on with answers that are there already, counts once. ValueError, and nothing stored, if one of the
    files is no sheet.
    """
    folder, kept = Path(folder), []
    sheets = {name: _checked(name, content.decode("utf-8", "replace")) for name, content in files.items()}
    for name, sheet in sheets.items():
        for number in itertools.count(1):
            stem, _, experiment = Path(name).stem.rpartition("-")
            path = folder / f"{stem}{'' if number == 1 else f'-{number}'}-{experiment}.json"
            old = _read(path) if path.exists() else None
            same = old is None or old["questions"] == sheet["questions"]
            shorter, longer = sorted([old or sheet, sheet], key=lambda each: len(each["answers"]))
            if same and longer["answers"][: len(shorter["answers"])] == shorter["answers"]:
                write_whole(path, json.dumps(longer, ensure_ascii=False))
                kept.append(path.name)
                break
    return kept


def _sheets(folder: str | Path, experiment: str) -> list[dict[str, Any]]:
    paths = sorted(Path(folder).glob(f"*-{experiment}.json"))
    if not paths:
        raise ValueError(f"{folder} holds no answers yet: no file *-{experiment}.json")
    return [_read(path) for path in paths]


def _read(path: Path) -> dict[str, Any]:
    return _checked(str(path), path.read_text(encoding="utf-8"))


def _checked(name: str, text: str) -> dict[str, Any]:
    try:
        sheet = json.loads(text)
        if not (isinstance(sheet["questions"], list) and isinstance(sheet["answers"], list)):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{name} is no sheet of answers; delete it") from None
    if not re.fullmatch(r"[\w-]{1,50}-(choice|fits|ranking)\.json", Path(name).name):
        raise ValueError(f"{name} is not named as a sheet: NAME-choice.json, NAME-fits.json or NAME-ranking.json")
    return dict(sheet)


# --- a simulated class ----------------------------------------------------------------------------------------------


def simulate(
    folder: str | Path, ask: Callable[[str], list[Question]], gap: Scores, *, students: int = 12, seed: int = 0
) -> None:
    """Files of students who see as `gap` says: how much less real a method's picture of each image looks (d').

    ask : a student's name -> the questions of `choices` or of `rankings`
    gap : method -> d' per image. Each picture's looks are felt with noise of variance 1, so that in a forced choice the
        restored one is taken for real with probability Phi(-d' / sqrt 2) (signal detection theory, Green & Swets 1966)
    """
    for name, g in _simulated(students, seed):
        sheet = Sheet(folder, name, ask(name))
        while (question := sheet.question) is not None:
            image = question["image"]
            if "shown" in question:
                felt = {m: gap[m][image] + torch.randn((), generator=g).item() for m in question["shown"]}
                sheet.answer(sorted(felt, key=felt.__getitem__))
            else:
                real, restored = torch.randn(2, generator=g).tolist()
                right = real < gap[question["method"]][image] + restored
                sheet.answer(question["real"] if right else {"left": "right", "right": "left"}[question["real"]])


def _simulated(students: int, seed: int) -> list[tuple[str, torch.Generator]]:
    names = [f"simulated-{i + 1:02d}" for i in range(students)]
    return [(name, _generator(name, seed + 10_000)) for name in names]
