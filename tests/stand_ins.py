"""What dask-jobqueue and dask-kubernetes make, where there is no batch system and no Kubernetes.

Each takes what the documentation gives to the real one, and nothing else. Jobs and pods are
processes of this machine.
"""

from __future__ import annotations

from types import SimpleNamespace

from distributed import LocalCluster

_SOON = {"interval": "100ms", "target_duration": "500ms"}


class SLURMCluster(LocalCluster):
    """Workers as batch jobs."""

    def __init__(
        self,
        *,
        queue,
        cores,
        processes,
        memory,
        walltime,
        job_extra_directives,
        worker_extra_args,
        scheduler_options,
    ):
        told = dict(zip(worker_extra_args[::2], worker_extra_args[1::2], strict=True))
        resources = dict(pair.split("=") for pair in told.pop("--resources").split())
        super().__init__(
            n_workers=0,
            threads_per_worker=cores // processes,
            memory_limit=memory,
            resources={name: float(amount) for name, amount in resources.items()},
            lifetime=told.pop("--lifetime"),
            lifetime_stagger=told.pop("--lifetime-stagger"),
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        )
        assert not told

    def adapt(self, *, minimum_jobs, maximum_jobs):
        """Adapt as the real one does, but sooner."""
        return super().adapt(minimum=minimum_jobs, maximum=min(maximum_jobs, 2), **_SOON)


class KubeCluster(LocalCluster):
    """Workers as pods."""

    def __init__(self, *, name, image, resources, env, shutdown_on_close):
        super().__init__(
            name=name,
            n_workers=0,
            threads_per_worker=int(resources["requests"]["cpu"]),
            memory_limit=resources["limits"]["memory"].replace("Gi", "GiB"),
            env=env,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        )

    def adapt(self, *, minimum, maximum):
        """Adapt as the real one does, but sooner."""
        return super().adapt(minimum=minimum, maximum=min(maximum, 2), **_SOON)


MODULES = {
    "dask_jobqueue": SimpleNamespace(SLURMCluster=SLURMCluster),
    "dask_kubernetes": SimpleNamespace(operator=SimpleNamespace(KubeCluster=KubeCluster)),
}
