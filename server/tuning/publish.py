"""What `tune-cloud` does: a base, an adapter tuned on it, a release of that, the gate's verdict.

Nothing is written before the adapter is whole and checked; then everything goes through Releases,
so a process killed at any point leaves what was current current. The next run tidies up after it.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fl.adapter import Adapter, digest, initial_adapter
from fl.base_model import BaseModel, base_folder, read_base
from fl.errors import AdapterError, BaseModelError, ReleaseError
from fl.release import AdapterRelease, Judgement
from fl.settings import Settings
from fl.signing import signing_key
from server.federation.gate import Gate
from server.federation.verdicts import Verdicts
from server.releases import Releases, lock
from server.tuning.corpus import TuningCorpus, tuning_corpus
from server.tuning.store import FEDERATION, check_base, cloud_releases
from server.tuning.tune import Tuned, loss_with, prepare, spec_for, tune

MOST_APART = 1e-4  # of merged and unmerged logits; more, and nothing is published

Say = Callable[[str], None]


def tune_and_publish(settings: Settings, console: Console) -> bool:
    """Tune, publish and judge; True if the new release is current.

    Raises NetGPTError where something is wrong; nothing is published then.
    """

    def say(line: str) -> None:
        console.print(f"  {line}", highlight=False, soft_wrap=True)

    prepare(settings)
    base = read_base(base_folder(settings, "cloud"), settings.tuning.target_modules)
    before = _sha256_of(base.folder)
    say(f"base: {base.folder}")
    releases = cloud_releases(settings, signing_key(settings))
    with lock(releases.folder):
        gate = Gate(releases, Verdicts(releases.folder.parent), tolerance=0.0)
        _tidy_up(releases, gate, say)
        corpus = tuning_corpus(settings)
        say(f"corpus: {len(corpus.train)} pairs to tune on, {len(corpus.heldout)} held out")
        tuned = _tune(settings, base, corpus, console)
        say(f"held-out loss: {tuned.base_loss:.4f} -> {tuned.loss:.4f} nats per token")
        say(f"merged and unmerged logits differ by {tuned.merged_difference:.1e} at the most")
        _check(tuned, base, before, _sha256_of(base.folder), say)
        initial = initial_adapter(spec_for(base, settings.tuning), base.layers, seed=settings.seed)
        current = _current(releases, initial, tuned)
        current_loss = _current_loss(current, base, corpus, tuned, settings, say)
        made = releases.publish(
            tuned.adapter,
            round_number=releases.next_number(),
            method="lora",
            parent_digest=digest(initial),
            metrics=_metrics(tuned, corpus, settings),
        )
        judgement = Judgement(
            release_number=made.number,
            loss=tuned.loss,
            current_number=current.number,
            current_loss=current_loss,
        )
        verdict = gate.decide(made.number, current.number, {FEDERATION: judgement})
    passed = verdict is not None and verdict.passed
    losses = f"{tuned.loss:.4f} nats per token, release {current.number} has {current_loss:.4f}"
    if passed:
        say(f"release {made.number} is current: {losses}")
    else:
        stays = releases.current_number()
        say(f"release {made.number} is kept beside, release {stays} stays current: {losses}")
    say(f"{releases.folder / str(made.number)}")
    return passed


def _tidy_up(releases: Releases, gate: Gate, say: Say) -> None:
    """After a run that was killed: hide what is damaged, settle what was left a candidate."""
    for line in releases.set_aside_damaged():
        say(line)
    left = releases.candidate()
    if left is not None:
        gate.finish(left.number)
        releases.reject(left.number, why="its tuning ended before the verdict")


def _tune(settings: Settings, base: BaseModel, corpus: TuningCorpus, console: Console) -> Tuned:
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("tuning", total=settings.tuning.steps, loss="")
        return tune(
            base,
            corpus,
            settings,
            on_step=lambda step, loss: progress.update(
                task, completed=step, loss=f"loss {loss:.4f}"
            ),
        )


def _check(tuned: Tuned, base: BaseModel, before: str, after: str, say: Say) -> None:
    """The base is what it was, and what will be served is what was trained."""
    if before != after:
        raise BaseModelError(
            f"{base.folder} changed meanwhile: sha256 of all its files {before[:12]}... before, "
            f"{after[:12]}... after. Nothing was published; run it again."
        )
    say(f"the base is untouched: sha256 of all its files {before[:12]}... before and after")
    if tuned.merged_difference > MOST_APART:
        raise AdapterError(
            f"Merged and unmerged logits differ by {tuned.merged_difference:.1e}, more than "
            f"{MOST_APART:.0e}: the adapter is too large to be merged in float32. Lower "
            "tuning.learning_rate. Nothing was published."
        )


def _current(releases: Releases, initial: Adapter, tuned: Tuned) -> AdapterRelease:
    """What is current: at the first time release 0, which changes nothing."""
    if not releases.numbers():
        releases.publish(
            initial,
            round_number=0,
            method="initial",
            parent_digest="",
            metrics={"mean_heldout_loss": tuned.base_loss},
        )
    return releases.current()


def _current_loss(
    current: AdapterRelease,
    base: BaseModel,
    corpus: TuningCorpus,
    tuned: Tuned,
    settings: Settings,
    say: Say,
) -> float:
    """Held-out loss of what is current: of the base alone, where that was made for another base."""
    try:
        check_base(settings, current)
    except ReleaseError as error:
        say(f"{error} The new one is compared with the base alone.")
        return tuned.base_loss
    return loss_with(base, current.shared, corpus, settings)


def _metrics(tuned: Tuned, corpus: TuningCorpus, settings: Settings) -> dict[str, float]:
    return {
        "mean_heldout_loss": tuned.loss,
        "base_heldout_loss": tuned.base_loss,
        "train_loss": tuned.train_loss,
        "merged_difference": tuned.merged_difference,
        "train_pairs": len(corpus.train),
        "heldout_pairs": len(corpus.heldout),
        "steps": settings.tuning.steps,
        "learning_rate": settings.tuning.learning_rate,
    }


def _sha256_of(folder: Path) -> str:
    """Over the names and bytes of every file in a model folder, hex; reads all of them."""
    sha = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        with open(file, "rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        sha.update(f"{file.relative_to(folder)}\0{content}\0".encode())
    return sha.hexdigest()
