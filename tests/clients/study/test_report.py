"""The study's tables from numbers worked out by hand."""

from pathlib import Path

from clients.study.report import markdown, write_study
from clients.study.results import (
    BASE,
    CENTRAL,
    LOCAL,
    OTHER_CARD,
    PERSONAL,
    SHARED,
    TEMPLATE,
    ArmScore,
    SeedStudy,
    SiteStudy,
)


def site(name: str, prompts: int, nll: float) -> SiteStudy:
    score = ArmScore(own_nll=nll, own_tokens=10 * prompts, others_nll=2.0, recall={"fact": 0.5})
    none = ArmScore(own_nll=None, own_tokens=0, others_nll=None, recall={"fact": 0.25})
    return SiteStudy(
        site_id=name,
        train_prompts=prompts,
        heldout_prompts=4,
        arms=dict.fromkeys((BASE, LOCAL, SHARED, PERSONAL, CENTRAL), score) | {TEMPLATE: none},
        short_answer_recall={},
        counterfactual={OTHER_CARD: {"own fact": 0.125}},
        bytes_up=2000,
        bytes_down=3000,
    )


def study(seed: int, shift: float) -> SeedStudy:
    sites = (site("a", 10, 1.0 + shift), site("b", 30, 3.0 + shift))
    return SeedStudy(
        seed=seed, federation="001", small_book=20, sites=sites, late=None, seconds=1.0
    )


def test_one_seed() -> None:
    text = markdown([study(0, 0.0)])
    row = next(line for line in text.splitlines() if line.startswith("| base "))
    # own: mean of 1 and 3; others 2; pooled: (10*1 + 30*3)/40 = 2.5; worst 3; recall 0.5
    assert [c.strip() for c in row.split("|")[2:-1]] == ["2.00", "2.00", "2.50", "3.00", "0.50"]
    template = next(line for line in text.splitlines() if line.startswith("| template"))
    assert [c.strip() for c in template.split("|")[2:-1]] == ["-", "-", "-", "-", "0.25"]
    assert "other card" in text
    assert "cloud's answers" not in text  # nobody was asked


def test_several_seeds_show_their_spread(tmp_path: Path) -> None:
    text = write_study(tmp_path, [study(0, 0.0), study(1, 2.0)])
    row = next(line for line in text.splitlines() if line.startswith("| books up to 20"))
    assert "2.00 ± 1.41" in row  # 1 and 3
    assert (tmp_path / "study.md").read_text() == text
    assert '"seed": 1' in (tmp_path / "study.json").read_text()
