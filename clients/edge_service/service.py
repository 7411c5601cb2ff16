"""The edge service of one site: started, kept, ended.

Start: lock the site -> listen on loopback -> load the model -> take up the shelf -> edge.json, one
line on stdout. SIGTERM or SIGINT: refuse calls -> give up learning at its next step -> return. A
second signal ends the process at once.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from clients.asking.alone import nothing_added
from clients.atomic import clear_asides
from clients.edge_model import edge_model
from clients.edge_service.answering import answering
from clients.edge_service.asking_servicer import AskingServicer
from clients.edge_service.by_products import ByProducts
from clients.edge_service.edge_file import edge_file, publish_edge_file, withdraw_edge_file
from clients.edge_service.endpoint import Endpoint
from clients.edge_service.held_book import HeldBook
from clients.edge_service.hosted_sites import other_sites
from clients.edge_service.http_listener import http_listener
from clients.edge_service.learning_servicer import LearningServicer
from clients.edge_service.model_owner import ModelOwner
from clients.edge_service.process import alone_at, set_by_signals, unless
from clients.edge_service.release_watch import ReleaseWatch
from clients.edge_service.serving import Say, Serving
from clients.edge_service.shared_line import line_to_cloud
from clients.edge_service.workbench import Workbench
from clients.insight.acting.prewarm import PutOff
from clients.learning.failure import keep_failure
from clients.profiles.store import profiles_of
from clients.release_channel import ReleaseChannel
from clients.workflow.workflow_file import workflow_of
from fl.errors import FederationError, NetGPTError
from fl.prompt_format import cloud_prompt
from fl.settings import Settings, resolve, with_task
from fl.signing import cloud_key
from fl.site_list import book_path, hosted_site, site_folder, task_folder
from fl.tasks import COMPLETE, TASKS

STOP_S = 3.0  # for a step of learning, and for calls, to end

_LOOK_EVERY_S = 0.5


def serve(settings: Settings, say: Say) -> None:
    """Run the service of `settings.site.id` until SIGTERM or SIGINT.

    Raises SettingsError, BaseModelError, ReleaseError or FederationError where it cannot start.
    """
    stop = threading.Event()
    with set_by_signals(stop), edge_service(settings, say, stop=stop) as owner:
        while owner is not None and not stop.wait(_LOOK_EVERY_S):
            if not owner.alive:
                raise FederationError("The model's thread has ended; the service cannot go on.")


@contextmanager
def edge_service(
    settings: Settings, say: Say, *, stop: threading.Event
) -> Iterator[ModelOwner | None]:
    """A service for as long as the block lasts; None where `stop` was set before it was ready."""
    settings = with_task(settings, COMPLETE)  # a plan says which task is learned
    workflow, site = workflow_of(settings), hosted_site(settings)
    folder, key = site_folder(settings, site.id), cloud_key(settings)
    keys = resolve(settings.site.keys) if settings.site.keys else None
    file, token = edge_file(settings, site.id), secrets.token_urlsafe(32)

    def failed(error_id: str, error: BaseException) -> None:
        keep_failure(folder, error)
        say(f"error {error_id}: {type(error).__name__}; failure.txt says where")

    with ExitStack() as ending:
        # 1. One service a site. What a killed one left goes.
        ending.enter_context(alone_at(folder))
        file.unlink(missing_ok=True)
        for task in TASKS:
            shelves = task_folder(with_task(settings, task), site.id) / "shelf"
            for shelf in (shelves, *shelves.glob("[0-9]*")):
                clear_asides(shelf)
        others = other_sites(settings)
        for one in (site, *others):
            profiles_of(settings, one.id).clear_asides()
        # 2. Listen, so that a taken port is noticed now; the cloud may be away.
        http = http_listener(settings)
        if http is not None:
            ending.callback(http.stop)
        endpoint = Endpoint(settings.edge.address, token, failed)
        timeout_s = settings.asking.timeout_s
        lines = ending.enter_context(line_to_cloud(settings, keys))
        # A connection of its own: what releases take is no request's, and no request waits for it.
        releases = ReleaseChannel(settings.site.cloud, keys=keys, timeout_s=timeout_s)
        ending.callback(releases.close)
        # 3. The model, loaded on the thread that owns it.
        owner = ModelOwner(
            lambda: edge_model(settings), least_step_s=settings.edge.least_step_ms / 1000
        )
        ending.callback(lambda: owner.close(wait_s=STOP_S))
        owner.start()
        if (model := unless(stop, owner.loaded)) is None:
            yield None
            return
        # 4. What people are served with, and what is learned from.
        serving = Serving(settings, site, spec=model.spec, layers=model.base.layers, say=say)
        serving.load()
        # A model's first text takes seconds; it shall not be somebody's.
        owner.write(lambda _: cloud_prompt("ready"), nothing_added(model), max_new_tokens=2)
        book = HeldBook(book_path(settings, site), site)
        try:
            book.book()
        except (NetGPTError, OSError) as error:  # asking needs none
            keep_failure(folder, error)
            say(f"the book cannot be read: {type(error).__name__}; failure.txt says where")
        # 5. Answer, and follow the cloud's releases.
        bench = Workbench(owner, say)
        by_products = ByProducts(settings, site, owner=owner, model=model, say=say)
        learning = LearningServicer(
            settings,
            site,
            key=key,
            books={COMPLETE: book, **by_products.books},
            bench=bench,
            serving={COMPLETE: serving, **by_products.serving},
        )
        people = answering(
            settings,
            [site, *others],
            owner=owner,
            model=model,
            serving=serving,
            by_products=by_products,
            lines=lines,
            workflow=workflow,
            token=token,
            say=say,
        )
        ending.callback(people.backend.close)
        asking = AskingServicer(people.corridor, owner=owner, book=book, bench=bench)
        outlook, gateway = people.outlook, people.gateway
        watch = ReleaseWatch(
            settings,
            site,
            channel=releases,
            key=key,
            serving=serving,
            owner=owner,
            say=say,
            put_off=PutOff(lambda: outlook.crowd(site.id), most_s=settings.prewarm.put_off_s),
        )

        def on_new_forecasts() -> None:
            if outlook.rises(site.id):
                watch.nudge()

        followers = [
            threading.Thread(target=follow, args=(stop,), name=name)
            for follow, name in (
                (watch.run, "release watch"),
                *((w.run, "by-product watch") for w in by_products.watches(releases, key, say)),
                (lambda stop: outlook.run(stop, on_new_forecasts), "outlook"),
                *people.followers,
            )
        ]
        endpoint.start(learning, asking)
        say(f"site {site.id} on {endpoint.address}, release {_name(serving)}")
        url = ""
        if http is not None:
            http.start(gateway)
            gateway.ready = True
            url = f"{http.url}/v1"
            say(f"openai on {url}")
        for follower in followers:
            follower.start()
        try:
            publish_edge_file(file, endpoint.address, token, url)
            yield owner
        finally:
            stop.set()
            withdraw_edge_file(file, token)
            gateway.ready = False
            with endpoint.stopping(STOP_S):
                if http is not None:
                    http.drain(STOP_S)
                owner.close(wait_s=STOP_S)  # whoever waits for the model is told
                releases.close()
                for follower in followers:
                    follower.join()
            say("stopped")


def _name(serving: Serving) -> str:
    in_use = serving.now()
    return in_use.name if in_use else "none"
