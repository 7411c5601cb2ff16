"""A plan for tests: a round of fedavg, whatever of it matters said by the test."""

from fl.rounds import RoundPlan


def fedavg_plan(
    *,
    round_number: int = 1,
    release_number: int = 0,
    current_release: int = 0,
    rank: int = 2,
    local_steps: int = 3,
    learning_rate: float = 0.005,
    batch_tokens: int = 512,
    seed: int = 0,
    deadline_s: float = 60.0,
) -> RoundPlan:
    """Every other field as the settings' defaults have it."""
    return RoundPlan(
        federation="001",
        round_number=round_number,
        release_number=release_number,
        current_release=current_release,
        learning_rate=learning_rate,
        local_steps=local_steps,
        batch_tokens=batch_tokens,
        clip_norm=1.0,
        seed=seed,
        deadline_s=deadline_s,
        method="fedavg",
        rank=rank,
        mixed_ranks=False,
        trains="AB",
        sends="AB",
        fresh=False,
        proximal_mu=0.0,
        uplink="float32",
        feedback_rounds=4,
    )
