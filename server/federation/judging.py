"""The last release is judged: no round will start from it, so sites are asked about it alone."""

import logging

from fl.errors import UpdateRefused
from fl.flower_records import JUDGE, read_judgement
from fl.release import Judgement
from fl.round_plan import round_plan
from server.federation.admission import check_judgement
from server.federation.federation import Federation
from server.federation.plan import letters

_log = logging.getLogger("flwr.netgpt")


def judge_last(federation: Federation) -> None:
    """Ask the sites about a candidate that no further round will start from, and decide.

    Where no site can judge it, it stays a candidate.
    """
    candidate, settings = federation.candidate(), federation.settings
    if candidate is None:
        return
    current = federation.releases.current()
    federation.progress.begin("judgement")
    plan = round_plan(
        settings,
        candidate,
        current_release=current.number,
        round_number=candidate.round_number,
        steps=settings.learning.settle_steps,
    )
    hosts = federation.roll_call.hosts(enough=federation.quorum, deadline_s=plan.deadline_s)
    judgements: dict[str, Judgement] = {}
    sent = letters(JUDGE, plan, candidate, hosts)
    for answer in federation.exchange.ask(sent, hosts, deadline_s=plan.deadline_s):
        if answer.late:
            continue  # there is no round left to use it in
        try:
            site, judgement = read_judgement(answer.records())
            if site != answer.receiver:
                raise UpdateRefused("it judges under another name")
            check_judgement(judgement, plan)
        except UpdateRefused as refused:
            _log.warning("no judgement of %s: %s", answer.receiver, refused)
        else:
            judgements[site] = judgement
        federation.progress.heard()
    federation.gate.decide(candidate.number, current.number, judgements)
    federation.show_releases()
