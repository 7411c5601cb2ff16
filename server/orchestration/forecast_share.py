"""What workers keep for requests that sites forecast."""

from collections.abc import Sequence
from statistics import fmean

from fl.orchestration.batch_server import Pace
from server.orchestration.adverts import Advert
from server.orchestration.entries import Announced

LOOSE = 3.0  # times what a request takes alone: from there on its deadline is loose


def kept_for_forecasts(
    announced: Announced,
    *,
    most: float,
    tokens: float,
    paces: Sequence[Pace],
    adverts: Sequence[Advert],
) -> float:
    """Share of workers' time that this request leaves to what other sites forecast.

    At most `most`, and nothing of one whose deadline is tight: it has no time to wait in, and who
    forecasts has nobody waiting yet. `tokens` is how long an answer usually is.
    """
    if not most:
        return 0.0
    alone_s = tokens * min(pace.token_s(1) for pace in paces)
    if announced.deadline_s < LOOSE * (announced.ready_s + alone_s):
        return 0.0
    each_s = tokens * fmean(pace.token_s(pace.rows) / pace.rows for pace in paces)
    others = (advert for advert in adverts if advert.site_id != announced.site_id)
    return min(most, sum(one.forecast_per_s for one in others) * each_s / len(paces))
