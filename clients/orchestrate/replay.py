"""A scene played in real time against a deployment."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from clients.edge_service.asking_codec import Ended
from clients.orchestrate.deployment import Deployed
from fl.errors import GenerationError, NetGPTError
from fl.link.profiles import profile
from fl.orchestration.outcomes import Outcome, Played, Sample
from fl.orchestration.scene import Arrival, Change, Loss, Scene

MOST_AT_ONCE = 256  # requests on their way
SHED = "RESOURCE_EXHAUSTED"
LATE = ("DEADLINE_EXCEEDED", "CANCELLED")


def replay(deployed: Deployed, scene: Scene, shorts: Sequence[Sequence[str]]) -> Played:
    """Play it to the end. `shorts` are the prompts of each site, asked by turns.

    Links begin as the scene says, and are the first ones again when it is over.
    """
    found, wrong = Played(), list[NetGPTError]()
    began, ended = time.monotonic(), threading.Event()

    def wait_for(at: float) -> None:
        time.sleep(max(0.0, began + at - time.monotonic()))

    def ask(number: int, arrival: Arrival) -> Outcome:
        prompts = shorts[arrival.site]
        short = prompts[number % len(prompts)]
        outcome, status = _asked(deployed, scene, arrival, short, began=began)
        if not outcome.in_time and outcome.place != "shed" and status not in (*LATE, ""):
            found.lost.append(status)
        return outcome

    def happenings() -> None:
        try:
            happen()
        except NetGPTError as error:  # told when the trace has been played
            wrong.append(error)

    def happen() -> None:
        due: list[Change | Loss] = [*scene.changes, *scene.losses]
        due.sort(key=lambda one: one.at)
        for one in due:
            if ended.wait(max(0.0, began + one.at - time.monotonic())):
                return
            if isinstance(one, Change):
                deployed.relays[one.cell].change(profile(one.profile))
            else:
                deployed.kill_a_worker()

    def watch() -> None:
        while not ended.wait(0.5):
            with suppress(GenerationError):  # a moment without a sample
                found.samples.append(_sample(deployed, time.monotonic() - began))

    helpers = [threading.Thread(target=one, daemon=True) for one in (happenings, watch)]
    for helper in helpers:
        helper.start()
    with ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="asker") as pool:
        futures = []
        for number, arrival in enumerate(scene.arrivals):
            wait_for(arrival.at)
            futures.append(pool.submit(ask, number, arrival))
        found.outcomes = [future.result() for future in futures]
    ended.set()
    for cell, relay in enumerate(deployed.relays):
        relay.change(profile(_first_link(scene, cell)))
    for helper in helpers:
        helper.join()
    if wrong:
        raise wrong[0]
    return found


def quiet_requests(
    deployed: Deployed, shorts: Sequence[Sequence[str]], many: int, *, mode: str = "synergy"
) -> None:
    """Ask some at every site, one after the other, without a deadline; nobody else is there."""
    for client, prompts in zip(deployed.clients, shorts, strict=True):
        for short in prompts[:many]:
            for _ in client.ask(short, mode=mode, deadline_s=0):
                pass


def _first_link(scene: Scene, cell: int) -> str:
    return next(change.profile for change in scene.changes if change.cell == cell)


def _asked(
    deployed: Deployed, scene: Scene, arrival: Arrival, short: str, *, began: float
) -> tuple[Outcome, str]:
    """What became of it, and the status of a failure; its seconds count from when it was due."""
    place, status = "", ""
    try:
        for event in deployed.clients[arrival.site].ask(
            short, mode="synergy", deadline_s=scene.deadline_s
        ):
            if isinstance(event, Ended):
                place = "edge" if event.mode == "edge" else "cloud"
    except GenerationError as error:
        status = error.status
        place = "shed" if status == SHED else place
    seconds = time.monotonic() - began - arrival.at
    ended = place in ("edge", "cloud") and not status
    return Outcome(
        at=arrival.at,
        site=arrival.site,
        place=place,
        seconds=seconds,
        in_time=ended and seconds <= scene.deadline_s,
    ), status


def _sample(deployed: Deployed, at: float) -> Sample:
    shown = deployed.desk.show()
    crossed = [relay.crossed for relay in deployed.relays]
    return Sample(
        at=at,
        at_workers=sum(worker.running + worker.waiting for worker in shown.workers),
        workers_up=sum(worker.alive for worker in shown.workers),
        bytes_up=sum(one.up for one in crossed),
        bytes_down=sum(one.down for one in crossed),
    )
