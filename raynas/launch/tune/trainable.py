"""The function that Ray Tune runs in a worker process: find the folder, pick the device, run the trial."""

import hashlib
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune

from raynas.errors import RaynasError
from raynas.launch.device import trial_device
from raynas.launch.driver import RunTrials, data_key, only_writer
from raynas.sweep.folder import AnySweep

UNFIT = "unfit"
"""Key of the report by which a node says that no trial can run on it."""


def train(
    config: dict[str, Any],
    *,
    sweep: str,
    digest: str,
    share: float,
    datasets: Mapping[str, ray.ObjectRef],
    run_trials: RunTrials,
) -> None:
    """Run the trials named in ``config`` as one pack, each from where its folder stands.

    Reports to Tune are a heartbeat only: all that counts is in the trial's folder. Nothing may stand in a
    ``finally`` here, since Tune kills a trial that it stops before its ``finally`` is done. A `RaynasError`
    that `run_trials` did not deal with is about this node and would hit every trial on it: it is reported,
    so that the driver ends the sweep, rather than raised, which would only be retried here.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # as in the driver: last, so that it can hide nothing installed
    folder = AnySweep(Path(sweep))
    try:
        check_storage(folder, digest)
        trials = [folder.trial(trial_id) for trial_id in config["searches"]]
        dataset = ray.get(datasets[data_key(trials[0].config().data)])
        device = trial_device(share)
        with only_writer(trials):
            tune.report({"epoch": 0})  # of a trial that ends without a report Tune prints a line
            forms = config["forms"]
            run_trials(trials, dataset=dataset, device=device, heartbeat=_heartbeat, forms=forms)
    except RaynasError as error:
        tune.report({UNFIT: f"{error}"})


def check_storage(folder: AnySweep, digest: str) -> None:
    """Raise `RaynasError` unless this node sees the driver's sweep folder."""
    if storage_digest(folder) != digest:
        raise RaynasError(
            "a node does not see the sweep's folder",
            got=f"{'another' if folder.exists else 'no'} sweep.json in {folder.path} "
            f"on node {socket.gethostname()}",
            expected="a folder on storage that all nodes share, at the same path",
            next_step="--runs DIR with a folder on shared storage (NFS, EFS, Filestore)",
        )


def storage_digest(folder: AnySweep) -> str:
    """Return a hash of the sweep's plan as this node sees it; empty when it sees none."""
    return hashlib.sha256(folder.fixed()).hexdigest() if folder.exists else ""


def _heartbeat(epoch: int) -> None:
    tune.report({"epoch": epoch})
