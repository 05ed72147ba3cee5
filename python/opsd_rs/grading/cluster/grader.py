"""Grading over a Ray cluster: the same interface as on one machine, with a ``Grader`` on every node.

Every node needs this package, of the same version; nodes whose sandbox or interpreter differs are excluded, since equal
programs must get equal verdicts. How jobs are distributed, and what happens when a node is lost: ``cluster.backend``.

What this does not do: reserve cores (nodes are used in full unless ``workers`` says less), start or size clusters,
survive the loss of the driver itself.
"""

from __future__ import annotations

from typing import Any, Unpack

from opsd_rs.config import GraderOptions, GraderSettings
from opsd_rs.errors import BadInput
from opsd_rs.grading.cluster.backend import Cluster
from opsd_rs.grading.grader import Grader
from opsd_rs.grading.stream import Flow
from opsd_rs.records import Grade, Solution


class RayGrader(Flow[Cluster]):
    """``Grader`` over a cluster, with the same ``grade``, ``stream``, ``astream`` and ``agrade``.

    :param address: of the cluster; ``auto``: the one this machine belongs to; ``local``: a new one on this machine. A
        process that is connected to a cluster already keeps its connection
    :param settings: as for ``Grader``, as are the options; ``workers`` counts the programs at a time on each node,
        None: one per core that the node gives Ray and may use

    :raises BadInput: ray is not installed, or an option that ``Grader`` refuses
    """

    def __init__(
        self,
        address: str = "auto",
        settings: GraderSettings | None = None,
        **options: Unpack[GraderOptions],
    ) -> None:
        self._ray = _import_ray()
        self._address = address
        self._local = Grader(settings, **options)  # never started; it checks the settings and extracts code
        super().__init__()

    @property
    def workers(self) -> int:  # type: ignore[override]
        """Programs running at the same time on all nodes; 0 before the start."""
        return 0 if self._backend is None else self._backend.workers

    def identity(self) -> dict[str, Any]:
        """As ``Grader.identity``; the same on every node."""
        return dict(self._ready().identity)

    def code_of(self, solution: Solution) -> str:
        """As ``Grader.code_of``."""
        return self._local.code_of(solution)

    def _grade(self, solution: Solution, found: Grade) -> Grade:
        return found

    def _start(self) -> Cluster:
        return Cluster(self._ray, self._address, self._local.settings)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise BadInput("ray is not installed: pip install 'opsd-rs[ray]'") from None
    return ray
