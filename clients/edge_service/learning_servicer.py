"""netgpt.v1.LearningService: the courier's message in, the answer's parts out.

A plan says which task it is about; each has a book, a shelf and adapters of its own, on one base.
"""

from collections.abc import Mapping

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.adapter_shelf import open_shelf
from clients.edge_model import EdgeModel
from clients.edge_service.held_book import HeldBook
from clients.edge_service.model_owner import GivenUp
from clients.edge_service.serving import Serving
from clients.edge_service.workbench import Workbench
from clients.learning import site_work
from clients.learning.edge_site import EdgeSite, Pause
from clients.learning.failure import keep_failure
from clients.learning.site_work import Parts, do_work, read_work
from fl.errors import FederationError
from fl.flower_records import failure_reason
from fl.settings import Settings, with_task
from fl.site import Site
from fl.site_list import hosted_site, site_folder
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc


class LearningServicer(pb_grpc.LearningServiceServicer):
    """A failure answers with its exception's type; the details stay in the site's failure.txt."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        key: Ed25519PublicKey,
        books: Mapping[str, HeldBook],
        bench: Workbench,
        serving: Mapping[str, Serving],
    ) -> None:
        """`books` and `serving` by task."""
        self._settings, self._site, self._key, self._books = settings, site, key, books
        self._bench, self._serving = bench, serving

    def Work(self, request: pb.WorkRequest, context: grpc.ServicerContext) -> pb.WorkResponse:
        try:
            work = read_work(request.kind, request.json, request.arrays, run=request.run)
            if work.site_id != self._site.id:
                raise FederationError(f"This is site {self._site.id}, not {work.site_id!r}.")
            json, arrays = self._bench.do(work, lambda model, pause: self._do(work, model, pause))
        except GivenUp:
            raise  # the service ends: the courier comes again
        except Exception as error:  # noqa: BLE001 - the border of a site's work
            keep_failure(site_folder(self._settings, self._site.id), error)
            return pb.WorkResponse(failure=failure_reason(error))
        return pb.WorkResponse(json=json, arrays=arrays)

    def _do(self, work: site_work.Work, model: EdgeModel, pause: Pause) -> Parts:
        """On the model's thread."""
        task = work.plan.task
        if task not in self._books:
            raise FederationError(
                f"The plan is for task={task[:40]!r}; a site learns {', '.join(self._books)}. "
                "Cloud and sites must run the same version."
            )
        settings, serving = with_task(self._settings, task), self._serving[task]

        def open_site() -> EdgeSite:
            return EdgeSite(
                site=hosted_site(settings),  # with the rank it has for this task
                book=self._books[task].book(),
                model=model,
                shelf=open_shelf(settings, self._site.id, work.plan.federation),
                settings=settings,
                pause=pause,
            )

        try:
            # What is in use, the release watch hears from the cloud; any is better than none.
            return do_work(work, open_site, self._key, use_settled=serving.now() is None)
        finally:
            serving.refresh()
