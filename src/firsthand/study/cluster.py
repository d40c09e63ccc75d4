"""A study's trainings beside each other on a Ray cluster, and a training by several processes.

A training and its evaluation are one task, which waits for those that it is built on. Tasks write into the study's own
folder, which all machines see under the same path, as a study without a cluster does. So what is done is not done
again, and a task whose machine is lost goes on elsewhere from its last checkpoint.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from firsthand.errors import FirsthandError, RecipeError, excerpt
from firsthand.ray_cluster import ray_cluster
from firsthand.recipe import Recipe
from firsthand.study.plan import Study
from firsthand.study.results import ArmRuns
from firsthand.study.standing import training_title

RETRIES = 3
"""How often a task is begun again whose machine or process was lost (ours)."""
PATIENCE = 120.0
"""Seconds that trainings have to end their step and save when the study is stopped (ours)."""

Work = Callable[[str, int, Mapping[str, ArmRuns]], ArmRuns]
"""Train and evaluate an arm under a seed, given what is finished under it by arm."""


class Job(NamedTuple):
    """A training and its evaluation."""

    arm: str
    seed: int


def carry_out_on_ray(
    study: Study, seeds: Sequence[int], work: Work, processes: int, tell: Callable[[str], None]
) -> dict[Job, ArmRuns]:
    """All trainings of the study; each takes `processes` of the cluster's GPUs, or processors where it has none.

    Where one fails, those that do not need it are carried out before its error is raised, with its name.
    Ctrl-C ends the steps that are under way, and saves.
    """
    missing = [Job(arm, seed) for seed in seeds for arm in study.order]
    total, done, under_way = len(missing), dict[Job, ArmRuns](), dict[Any, Job]()
    failed: dict[Job, Exception] = {}
    with ray_cluster() as ray:
        task = ray.remote(_in_folder).options(**_resources(ray, processes), max_retries=RETRIES)
        here = os.getcwd()
        try:
            while missing or under_way:
                ready = [job for job in missing if all(Job(arm, job.seed) in done for arm in study.needs(job.arm))]
                for job in ready:
                    missing.remove(job)
                    before = {one.arm: runs for one, runs in done.items() if one.seed == job.seed}
                    under_way[task.remote(here, work, job.arm, job.seed, before)] = job
                if not under_way:
                    break  # the rest needs what has failed
                (ended, *_), _ = ray.wait(list(under_way))
                job = under_way.pop(ended)
                title = training_title(*job, seeds)
                try:
                    done[job] = ray.get(ended)
                    tell(f"{title}: done ({len(done)} of {total})")
                except ray.exceptions.RayTaskError as error:
                    failed[job] = error.cause
                    tell(f"{title}: failed")
                except ray.exceptions.RayError as error:
                    failed[job] = error
                    tell(f"{title}: lost")
        except KeyboardInterrupt:
            for ended in under_way:
                ray.cancel(ended, force=False)
            if under_way:  # Ray refuses to wait for nothing
                ray.wait(list(under_way), num_returns=len(under_way), timeout=PATIENCE)
            raise
    for job, cause in failed.items():
        if not isinstance(cause, FirsthandError):
            raise RuntimeError(f"{training_title(*job, seeds)}: its task on the Ray cluster failed") from cause
        cause.args = (f"{training_title(*job, seeds)}: {cause}",)
        raise cause
    return done


def _in_folder(folder: str, work: Work, *how: Any) -> ArmRuns:
    """A worker begins in a folder of Ray's, and a study may name its data from where it was started."""
    os.chdir(folder)
    return work(*how)


def _resources(ray: Any, processes: int) -> dict[str, Any]:
    """What a task takes. Raises RecipeError where no machine of the cluster has it, for it would wait for ever."""
    kind = "GPU" if ray.cluster_resources().get("GPU") else "CPU"
    most = max(int(node["Resources"].get(kind, 0)) for node in ray.nodes() if node["Alive"])
    if processes > most:
        raise RecipeError(
            f"--processes: expected at most {most}, which is what the largest machine of the cluster has ({kind}), "
            f"got {processes}"
        )
    return {"num_gpus": processes, "num_cpus": 1} if kind == "GPU" else {"num_cpus": processes}


def train_by_processes(recipe: Recipe, root: Path, processes: int, track: str) -> None:
    """`torchrun -m firsthand train` of a recipe on this machine. Raises RecipeError with what it said if it fails."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{recipe.name}.yaml"
        file.write_text(recipe.model_dump_json(exclude_unset=True), encoding="utf-8")
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [*launch, "-m", "firsthand", "train", str(file), "--out", str(root), "--track", track]
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        said = ended.stderr.partition("firsthand: ")[2] or ended.stderr
        raise RecipeError(
            f"{recipe.name}: its {processes} processes ended with status {ended.returncode}: {excerpt(said, 400)}"
        )
