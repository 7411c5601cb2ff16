"""Storage and memory by formula: the paper's models, ours with LoRA, and the user's own.

Nothing here is measured. The paper (NetGPT, arXiv 2307.06148) was not at hand: its figures are
second-hand (2nd), and which formula lies behind a figure is our inference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from clients.capability import BYTES_A_NUMBER, BYTES_A_PARAMETER, directions_beside
from clients.compare.model_shape import Shape, gpt2_base, llama_7b, lora_widths, shape_of
from fl.base_model import Side, base_folder
from fl.markdown_table import table
from fl.settings import Settings, resolve

MIB, GIB, MB, GB = 2**20, 2**30, 10**6, 10**9
Weights = Literal["float32", "float16"]
_WIDTH: dict[Weights, int] = {"float32": 4, "float16": 2}  # bytes a number
_PARTS = "fp32 weight, gradient, two Adam moments"  # what BYTES_A_PARAMETER stands for
_SEVEN_BILLION = 7 * 10**9  # the round count with which 112 GB comes out


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A number of bytes and the formula it follows from."""

    bytes: int
    formula: str


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a model takes, computed; None where nothing was.

    Inference and tuning are lower bounds: activations and what the framework takes are not in.
    """

    name: str
    parameters: int  # of the model, or of the adapter where one is trained
    storage: Amount | None = None  # in files
    inference: Amount | None = None  # weights, and keys and values of one sequence of full length
    tuning: Amount | None = None  # weights, gradients and the optimiser's moments
    update: Amount | None = None  # one federated update on the wire


@dataclass(frozen=True, kw_only=True)
class Quoted:
    """A figure of the paper as others report it; `bytes` is how we read it."""

    text: str
    bytes: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What others report of the paper about one model; None where nothing was found."""

    storage: Quoted | None = None
    inference: Quoted | None = None
    tuning: Quoted | None = None


# Storage comes out in binary units only, 112 GB in decimal ones only. For 1.65 and 7.8 GB no
# formula is known; they are read like the other memory figure.
PAPER_EDGE = Figures(
    storage=Quoted(text="486.8 MB, read as MiB", bytes=486.8 * MIB),
    inference=Quoted(text="1.65 GB", bytes=1.65 * GB),
    tuning=Quoted(text="about 7.8 GB", bytes=7.8 * GB),
)
PAPER_CLOUD = Figures(
    storage=Quoted(text="12.55 GB, read as GiB", bytes=12.55 * GIB),
    tuning=Quoted(text="112 GB", bytes=112 * GB),
)
Row = tuple[Footprint, Figures]


def whole(shape: Shape, *, run_in: Weights) -> Footprint:
    """A model without adapter: stored as its config says, run in `run_in`, every weight tuned."""
    count, width = shape.parameters, _WIDTH[run_in]
    return Footprint(
        name=shape.name,
        parameters=count,
        storage=_each(count, shape.bytes_each, shape.stored_as),
        inference=Amount(
            bytes=(count + shape.cached * shape.positions) * width,
            formula=f"({count:,} + {shape.cached:,} keys and values x {shape.positions:,} "
            f"positions) x {width} bytes ({run_in})",
        ),
        tuning=_each(count, BYTES_A_PARAMETER, _PARTS),
    )


def with_lora(
    shape: Shape, rank: int, targets: Sequence[str], *, frozen: Weights, beside: int = 0
) -> Footprint:
    """A model run frozen in `frozen`, with LoRA on the layers whose names end in a target.

    `beside`: directions that are trained or held in the same tensors and never sent, as
    `directions_beside` counts them. Raises BaseModelError where a target names no layer.
    """
    widths = lora_widths(shape, targets)
    sent, held = rank * widths, (rank + beside) * widths
    stored = _each(shape.parameters, shape.bytes_each, shape.stored_as)
    weights = _each(shape.parameters, _WIDTH[frozen], f"{frozen}, frozen")
    name = f"{shape.name} frozen in {frozen}, LoRA r={rank} on {', '.join(targets)}"
    return Footprint(
        name=f"{name}, {beside} directions not sent" if beside else name,
        parameters=sent,
        storage=_sum(stored, _each(held, BYTES_A_NUMBER, "LoRA in float32")),
        tuning=_sum(weights, _each(held, BYTES_A_PARAMETER, _PARTS)),
        update=_each(sent, BYTES_A_NUMBER, "A and B in float32"),
    )


def paper_rows() -> tuple[Row, ...]:
    """The paper's two models, and the variants that its figures come out with."""
    edge, cloud = gpt2_base(), llama_7b()
    mask = edge.positions**2  # bytes: one truth value for each pair of positions
    plain = _each(edge.parameters, _WIDTH["float32"], "float32")
    with_masks = Footprint(
        name="GPT-2-base with its causal masks (fits the paper's)",
        parameters=edge.parameters,
        storage=Amount(
            bytes=plain.bytes + edge.blocks * mask,
            formula=f"{plain.formula} + {edge.blocks} masks x {edge.positions:,}² x 1 byte",
        ),
    )
    rounded = Footprint(
        name="LLaMA-7B counted as 7e9 (fits the paper's)",
        parameters=_SEVEN_BILLION,
        tuning=_each(_SEVEN_BILLION, BYTES_A_PARAMETER, _PARTS),
    )
    return (
        (whole(edge, run_in="float32"), PAPER_EDGE),
        (with_masks, PAPER_EDGE),
        (whole(cloud, run_in="float16"), PAPER_CLOUD),
        (rounded, PAPER_CLOUD),
    )


def lora_rows() -> tuple[Row, ...]:
    """The same two models as we tune them; the paper's ranks and targets are not known."""
    edge, cloud = gpt2_base(), llama_7b()
    queries = ("q_proj", "v_proj")
    return (
        (with_lora(edge, 8, ["c_attn"], frozen="float32"), PAPER_EDGE),
        (with_lora(cloud, 8, queries, frozen="float16"), PAPER_CLOUD),
        (with_lora(cloud, 8, queries, frozen="float32"), PAPER_CLOUD),
    )


def own_rows(settings: Settings) -> tuple[Row, ...]:
    """The base models of these settings and their LoRA. Raises BaseModelError."""
    learning, tuning = settings.learning, settings.tuning
    edge = shape_of(_model(settings, "edge"), name="own edge model")
    found = [
        whole(edge, run_in="float32"),
        with_lora(
            edge,
            learning.rank,
            learning.target_modules,
            frozen="float32",
            beside=directions_beside(settings),
        ),
    ]
    if settings.cloud.model != "none":
        cloud = shape_of(_model(settings, "cloud"), name="own cloud model")
        adapted = with_lora(cloud, tuning.rank, tuning.target_modules, frozen="float32")
        # The cloud's own adapter is trained where it is used: there is no update.
        found += [whole(cloud, run_in="float32"), replace(adapted, update=None)]
    return tuple((footprint, Figures()) for footprint in found)


def markdown(settings: Settings | None = None) -> str:
    """All tables; with settings also the user's own models. Raises BaseModelError."""
    parts = [
        "# Resources by formula",
        "Our numbers are computed from the models' configs, none is measured. The paper's are "
        "second-hand (2nd): reported by others, not read in the paper and not measured by us; that "
        "they come from these formulas is our inference. MiB and GiB are powers of 1,024, MB and "
        "GB of 1,000. Inference and tuning count no activations: they are lower bounds, and a "
        "small ratio there shows what is not counted or tuned otherwise, not a saving.",
        "## The paper's models, every weight tuned\n\n" + rows_table(paper_rows()),
        "## Ours: the same models with LoRA\n\nThe paper's 112 GB fits tuning every weight, so the "
        "ratio compares two ways of tuning.\n\n" + rows_table(lora_rows()),
    ]
    if settings:
        parts.append("## Own models\n\n" + rows_table(own_rows(settings)))
    return "\n\n".join(parts) + "\n"


def rows_table(rows: Sequence[Row]) -> str:
    """One line for each number of each footprint."""
    header = ["what", "parameters", "our number", "the paper's number (second-hand, 2nd)"]
    return table([*header, "formula", "ratio ours/paper"], [line for r in rows for line in _row(r)])


def _row(row: Row) -> Iterator[list[str]]:
    mine, paper = row
    numbers = (
        ("storage", mine.storage, paper.storage, True),
        ("inference memory", mine.inference, paper.inference, False),
        ("tuning memory", mine.tuning, paper.tuning, False),
        ("one update on the wire", mine.update, None, True),
    )
    for what, amount, quoted, binary in numbers:
        if amount:
            ratio = f"{amount.bytes / quoted.bytes:.3f}" if quoted else "-"
            line = [f"{mine.name}: {what}", f"{mine.parameters:,}", _size(amount.bytes, binary)]
            yield [*line, quoted.text if quoted else "-", amount.formula, ratio]


def _size(count: int, binary: bool) -> str:
    """Two decimals, in the family of units in which the paper's figure comes out."""
    large, small = (GIB, MIB) if binary else (GB, MB)
    unit = ("GiB", "MiB") if binary else ("GB", "MB")
    return f"{count / large:.2f} {unit[0]}" if count >= large else f"{count / small:.2f} {unit[1]}"


def _each(count: int, width: int, what: str) -> Amount:
    return Amount(bytes=count * width, formula=f"{count:,} x {width} bytes ({what})")


def _sum(first: Amount, second: Amount) -> Amount:
    return Amount(bytes=first.bytes + second.bytes, formula=f"{first.formula} + {second.formula}")


def _model(settings: Settings, side: Side) -> Path | str:
    """Where the config lies; unlike base_folder it fetches nothing from the hub."""
    model = settings.edge.model if side == "edge" else settings.cloud.model
    if model == "embedded":
        return base_folder(settings, side)
    local = resolve(model)
    return local if local.exists() else model
