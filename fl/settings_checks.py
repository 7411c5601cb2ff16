"""Ranges and contradictions of settings, each said in one line; all are reported together."""

import re
from typing import TYPE_CHECKING

from fl.link.profiles import mistake
from fl.orchestration.admission import POLICIES
from fl.rounds import OPTIMIZERS
from fl.settings_acting import acting_checks
from fl.settings_intent import intent_mistakes
from fl.settings_trend import trend_mistakes
from fl.tasks import TASKS

if TYPE_CHECKING:
    from fl.settings import Settings


def mistakes(s: "Settings") -> list[str]:
    """What cannot work, a sentence each; empty where all is well."""
    checks: list[tuple[bool, str]] = [
        (
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", s.name) is not None,
            f"name is letters, digits, '_' and '-', found {s.name!r}",
        ),
        (s.rounds >= 1, f"rounds must be at least 1, found {s.rounds}"),
        (s.seeds >= 1, f"seeds must be at least 1, found {s.seeds}"),
        (s.workers >= 1, f"workers must be at least 1, found {s.workers}"),
        (s.threads >= 0, f"threads must be 0 or more, found {s.threads}"),
        (s.learning.rank >= 1, f"learning.rank must be at least 1, found {s.learning.rank}"),
        (
            s.learning.personal_rank >= 1,
            f"learning.personal_rank must be at least 1, found {s.learning.personal_rank}",
        ),
        (0 < s.learning.final_rate <= 1, "learning.final_rate must be above 0 and at most 1"),
        (s.learning.local_steps >= 1, "learning.local_steps must be at least 1"),
        (s.learning.settle_steps >= 0, "learning.settle_steps must be 0 or more"),
        (
            s.mode in ("edge", "cloud", "split", "synergy", "auto"),
            f"mode is edge, cloud, split, synergy or auto, found {s.mode!r}",
        ),
        (s.task in TASKS, f"task is {', '.join(TASKS)}, found {s.task!r}"),
        (s.insight.rounds >= 1, "insight.rounds must be at least 1"),
        (s.workflow != "", "workflow must name a file; configs/workflow.yaml is the default"),
        (
            1 <= s.compare.timed_sites <= s.compare.sites,
            f"compare.timed_sites must be 1 to compare.sites ({s.compare.sites})",
        ),
        (len(s.compare.profiles) >= 1, "compare.profiles must name a link"),
        *(
            (not wrong, wrong)
            for wrong in (
                mistake(s.link.profile, setting="link.profile"),
                *(mistake(name, setting="compare.profiles") for name in s.compare.profiles),
            )
        ),
        (s.compare.requests >= 1, "compare.requests must be at least 1"),
        (s.compare.split_requests >= 1, "compare.split_requests must be at least 1"),
        (s.routing.price >= 0, "routing.price must be 0 or more"),
        (0 < s.routing.cloud_quality <= 1, "routing.cloud_quality must be above 0 and at most 1"),
        (s.routing.measure_s > 0, "routing.measure_s must be above 0"),
        (
            min(s.edge.least_step_ms, s.engine.least_step_ms, s.engine.least_row_ms) >= 0,
            "edge.least_step_ms, engine.least_step_ms and least_row_ms must be 0 or more",
        ),
        (s.orchestration.deadline_s >= 0, "orchestration.deadline_s must be 0 or more"),
        (
            s.orchestration.admission in POLICIES,
            f"orchestration.admission is one of {', '.join(POLICIES)}, "
            f"found {s.orchestration.admission!r}",
        ),
        (0 <= s.orchestration.slack < 1, "orchestration.slack must be 0 or more and below 1"),
        (s.orchestration.advert_s >= 0, "orchestration.advert_s must be 0 or more"),
        (
            re.fullmatch(r"[A-Za-z0-9_-]{0,64}", s.orchestration.cell) is not None,
            "orchestration.cell is at most 64 letters, digits, '_' and '-'",
        ),
        (
            min(s.orchestration.step_ms, s.orchestration.row_ms) > 0,
            "orchestration.step_ms and row_ms must be above 0",
        ),
        *_of_orchestrate(s),
        *intent_mistakes(s.intent),
        *trend_mistakes(s.trend),
        *acting_checks(s),
        (s.split.layers >= 0, "split.layers must be 0 or more"),
        (s.split.memory_mb >= 1, "split.memory_mb must be at least 1"),
        (s.split.requests >= 1, "split.requests must be at least 1"),
        (
            s.split.numbers in ("float32", "float16"),
            f"split.numbers is float32 or float16, found {s.split.numbers!r}",
        ),
        (s.learning.alpha > 0, "learning.alpha must be above 0"),
        (s.learning.clip_norm > 0, "learning.clip_norm must be above 0"),
        (s.study.heldout_per_site >= 1, "study.heldout_per_site must be at least 1"),
        (
            len(s.study.learning_rates) >= 1 and min(s.study.learning_rates) > 0,
            f"study.learning_rates are numbers above 0, found {s.study.learning_rates}",
        ),
        (
            min(s.study.low_rounds, s.study.low_steps, s.study.high_rounds, s.study.high_steps)
            >= 1,
            "study's rounds and steps must be at least 1",
        ),
        (
            all(rank >= 1 for rank in s.study.high_ranks),
            f"study.high_ranks are ranks, 1 or more, found {s.study.high_ranks}",
        ),
        (s.study.central_steps >= 1, "study.central_steps must be at least 1"),
        (s.learning.learning_rate > 0, "learning.learning_rate must be above 0"),
        (s.learning.max_tokens >= 16, "learning.max_tokens must be at least 16"),
        (
            s.learning.batch_tokens >= s.learning.max_tokens,
            f"learning.batch_tokens ({s.learning.batch_tokens}) must hold one record of "
            f"learning.max_tokens ({s.learning.max_tokens})",
        ),
        (
            s.learning.bfloat16 in ("auto", "on", "off"),
            f"learning.bfloat16 is auto, on or off (quoted), found {s.learning.bfloat16!r}",
        ),
        (len(s.learning.target_modules) >= 1, "learning.target_modules must name a layer"),
        (0 < s.federation.quorum <= 1, "federation.quorum must be above 0 and at most 1"),
        (s.federation.deadline_s > 0, "federation.deadline_s must be above 0"),
        (s.federation.attempts >= 1, "federation.attempts must be at least 1"),
        (s.federation.gate_tolerance >= 0, "federation.gate_tolerance must be 0 or more"),
        (s.federation.server_learning_rate > 0, "federation.server_learning_rate must be above 0"),
        (s.federation.robust_bad >= 0, "federation.robust_bad must be 0 or more"),
        (s.federation.robust_norm >= 0, "federation.robust_norm must be 0 or more"),
        (s.federation.feedback_rounds >= 1, "federation.feedback_rounds must be at least 1"),
        (s.federation.telemetry_sites >= 0, "federation.telemetry_sites must be 0 or more"),
        (
            s.learning.optimizer in OPTIMIZERS,
            f"learning.optimizer is adamw or sgd, found {s.learning.optimizer!r}",
        ),
        (
            s.learning.optimizer != "sgd" or s.personal == "none",
            "learning.optimizer=sgd is for shared parts alone: set personal=none",
        ),
        (
            0 <= s.learning.prompt_dropout < 1,
            f"learning.prompt_dropout is 0 or more and below 1, found {s.learning.prompt_dropout}",
        ),
        (s.learning.proximal_mu >= 0, "learning.proximal_mu must be 0 or more"),
        (s.learning.ditto_lambda >= 0, "learning.ditto_lambda must be 0 or more"),
        (
            0 <= s.learning.personal_weight < 1,
            "learning.personal_weight is 0 (the plain sum) or the personal part's share, below 1; "
            f"found {s.learning.personal_weight}",
        ),
        (
            all(1 <= rank <= s.learning.rank for rank in s.learning.ranks),
            f"learning.ranks are 1 to learning.rank ({s.learning.rank}), found {s.learning.ranks}",
        ),
        (
            0 <= s.site.rank <= s.learning.rank,
            f"site.rank is 0 to learning.rank ({s.learning.rank}), found {s.site.rank}",
        ),
        (s.site.memory_mb >= 0, "site.memory_mb must be 0 or more"),
        (
            s.learning.rank_limit >= s.learning.rank,
            f"learning.rank_limit ({s.learning.rank_limit}) must be at least learning.rank "
            f"({s.learning.rank})",
        ),
        (s.edge.refresh_s > 0, "edge.refresh_s must be above 0"),
        (s.asking.card_tokens >= 8, "asking.card_tokens must be at least 8"),
        (s.profile.tokens >= 0, "profile.tokens must be 0 or more"),
        (":" in s.service.address, f"service.address is host:port, found {s.service.address!r}"),
        (s.service.queue >= 1, "service.queue must be at least 1"),
        (s.service.queue_tokens >= 1, "service.queue_tokens must be at least 1"),
        (s.service.requests_per_minute >= 0, "service.requests_per_minute must be 0 or more"),
        (s.edge.requests_per_minute >= 0, "edge.requests_per_minute must be 0 or more"),
        (
            s.engine.kind in ("embedded", "remote", "workers"),
            f"engine.kind is embedded, remote or workers, found {s.engine.kind!r}",
        ),
        (
            _are_workers(s.engine.workers),
            "engine.workers is how many, 1 or more, or a list of host:port, each once, found "
            f"{s.engine.workers!r}",
        ),
        (s.engine.silence_s > 0, "engine.silence_s must be above 0"),
        (
            s.engine.weights in ("float32", "bfloat16", "int8"),
            f"engine.weights is float32, bfloat16 or int8, found {s.engine.weights!r}",
        ),
        (s.engine.weights_tolerance >= 0, "engine.weights_tolerance must be 0 or more"),
        (s.engine.batch >= 1, "engine.batch must be at least 1"),
        (s.engine.cache_tokens >= 16, "engine.cache_tokens must be at least 16"),
        (s.engine.step_tokens >= 1, "engine.step_tokens must be at least 1"),
        (
            s.engine.kind != "remote" or s.engine.url.startswith(("http://", "https://")),
            f"engine.url is http://... or https://... for engine.kind=remote, found "
            f"{s.engine.url!r}",
        ),
        (
            s.engine.api in ("completions", "chat"),
            f"engine.api is completions or chat, found {s.engine.api!r}",
        ),
        (s.engine.timeout_s > 0, "engine.timeout_s must be above 0"),
        (s.tuning.rank >= 1, "tuning.rank must be at least 1"),
        (s.tuning.alpha > 0, "tuning.alpha must be above 0"),
        (s.tuning.steps >= 1, "tuning.steps must be at least 1"),
        (s.tuning.learning_rate > 0, "tuning.learning_rate must be above 0"),
        (len(s.tuning.target_modules) >= 1, "tuning.target_modules must name a layer"),
        (s.tuning.heldout >= 1, "tuning.heldout must be at least 1"),
        (s.tuning.records >= 1, "tuning.records must be at least 1"),
        (s.service.max_prompt_tokens >= 1, "service.max_prompt_tokens must be at least 1"),
        (s.service.max_new_tokens >= 1, "service.max_new_tokens must be at least 1"),
        (s.service.drain_s >= 0, "service.drain_s must be 0 or more"),
        (s.asking.timeout_s > 0, "asking.timeout_s must be above 0"),
        (s.asking.enriched_tokens >= 1, "asking.enriched_tokens must be at least 1"),
        (
            1 <= s.asking.answer_tokens <= s.service.max_new_tokens,
            f"asking.answer_tokens ({s.asking.answer_tokens}) must be 1 to service.max_new_tokens "
            f"({s.service.max_new_tokens})",
        ),
        (s.asking.disclose_max_characters >= 1, "asking.disclose_max_characters must be above 0"),
    ]
    for part, shape in (("edge", s.foundation.edge), ("cloud", s.foundation.cloud)):
        checks.append(
            (
                shape.heads >= 1 and shape.hidden % shape.heads == 0,
                f"foundation.{part}: hidden ({shape.hidden}) must be a multiple of heads "
                f"({shape.heads})",
            )
        )
        checks.append(
            (shape.vocabulary >= 300, f"foundation.{part}.vocabulary must be at least 300")
        )
    return [text for ok, text in checks if not ok]


def _are_workers(found: object) -> bool:
    if isinstance(found, list):
        named = all(isinstance(each, str) and ":" in each for each in found)
        return named and len(set(found)) == len(found) >= 1
    return isinstance(found, int) and not isinstance(found, bool) and found >= 1


def _of_orchestrate(s: "Settings") -> list[tuple[bool, str]]:
    its, large = s.orchestrate, s.orchestrate.modelled
    bursts = [
        ("orchestrate.burst", its.burst),
        ("orchestrate.modelled.burst", large.burst),
    ]
    return [
        (
            1 <= its.cells <= its.sites and 1 <= large.cells <= large.sites,
            "orchestrate.cells and modelled.cells must be 1 to as many as there are sites",
        ),
        (
            its.workers >= 2 and large.workers >= 2,
            "orchestrate.workers and modelled.workers must be at least 2: one is killed",
        ),
        (
            min(its.rows, its.seeds) >= 1,
            "orchestrate.rows and seeds must be at least 1",
        ),
        (
            min(its.seconds, its.deadline_s, its.link_s, large.seconds, large.round_s) > 0,
            "orchestrate.seconds, deadline_s, link_s and those of modelled must be above 0",
        ),
        *(
            (
                min(one.quiet_per_s, one.crowd_per_s, one.quiet_s, one.crowd_s) > 0,
                f"{name} must have numbers above 0",
            )
            for name, one in bursts
        ),
        (len(its.links) >= 1, "orchestrate.links must name a link"),
        *(
            (not wrong, wrong)
            for wrong in (mistake(name, setting="orchestrate.links") for name in its.links)
        ),
    ]
