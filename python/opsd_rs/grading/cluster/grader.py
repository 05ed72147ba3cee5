"""Grading over a Ray cluster: the same flow as on one machine, with a ``Grader`` on every node.

Every node needs this package, of the same version; nodes whose sandbox or interpreter differs are left out, since equal
programs must get equal verdicts. How jobs find their nodes, and what the loss of a node means: ``grading_cluster``.

What this does not do: reserve cores (nodes are used in full unless ``workers`` says less), start or size clusters,
survive the loss of the driver itself.
"""

from __future__ import annotations

from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.grading.cluster.backend import Cluster
from opsd_rs.grading.grader import Grader
from opsd_rs.grading.stream import Flow
from opsd_rs.records import Grade, Solution


class RayGrader(Flow[Cluster]):
    """``Grader`` over a cluster, with the same ``grade``, ``stream``, ``astream`` and ``agrade``.

    :param address: of the cluster; ``auto``: the one this machine belongs to; ``local``: a new one on this machine. A
        process that is connected to a cluster already stays with it
    :param workers: programs at the same time on each node; None: one per core that the node gives Ray and may use
    :param settings: further keywords of ``Grader``

    :raises BadInput: ray is not installed, or a setting that ``Grader`` refuses
    """

    def __init__(self, address: str = "auto", *, workers: int | None = None, **settings: Any) -> None:
        self._ray = _import_ray()
        self._address = address
        self._settings = settings
        self._per_node = workers
        self._twin = Grader(workers=workers, **settings)  # never started; it checks the settings
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
        return self._twin.code_of(solution)

    def _grade(self, solution: Solution, found: Grade) -> Grade:
        return found

    def _start(self) -> Cluster:
        return Cluster(self._ray, self._address, self._per_node, self._settings)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise BadInput("ray is not installed: pip install 'opsd-rs[ray]'") from None
    return ray
