"""A trained network as an MLflow model: saved in a folder, and registered under a name."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raynas.errors import RaynasError
from raynas.sweep.file.uri import reason, resolve_uri, shown
from raynas.track.store import MlflowStore
from raynas.train.deployed import Deployed
from raynas.train.export.formats import Answer, Format, Normalised, example

EXPERIMENT = "exports"
"""Where a network is registered from that no sweep trained."""


def register_model(deployed: Deployed, name: str, uri: str) -> str:
    """Log a network to the MLflow store ``uri`` and register it; return the version that it got.

    The run is in the experiment of the sweep that trained it. Raises `RaynasError` for a store that is away
    and for what it refuses.
    """
    import mlflow

    store, sweep = resolve_uri(uri), deployed.card.trained.get("sweep")
    try:
        experiment = MlflowStore(store).experiment(sweep if isinstance(sweep, str) else EXPERIMENT)
        mlflow.set_tracking_uri(store)
        with _quiet(), mlflow.start_run(experiment_id=experiment, run_name=name):
            logged = mlflow.pytorch.log_model(
                Normalised(deployed).eval(), name="network", registered_model_name=name, **_told(deployed)
            )
    except Exception as error:  # MLflow, its database and the network each raise their own
        raise RaynasError(
            f"cannot register the model {name!r}", got=f"{reason(error)} ({shown(store)})"
        ) from error
    return str(logged.registered_model_version)


def _write(deployed: Deployed, path: Path) -> Answer:
    import mlflow.pyfunc
    import mlflow.pytorch

    with _quiet():
        mlflow.pytorch.save_model(Normalised(deployed).eval(), str(path), **_told(deployed))
        model = mlflow.pyfunc.load_model(str(path))
    return lambda images: np.asarray(model.predict(images))


def _told(deployed: Deployed) -> dict[str, Any]:
    """Return what MLflow is told of a network.

    Saved as a program of torch.export, it is loaded without raynas and without unpickling. The example is two
    images: with one alone the model takes no other number of them.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    kind, card = np.dtype(np.float32), deployed.card
    return {
        "signature": ModelSignature(
            Schema([TensorSpec(kind, (-1, *card.shape))]),
            Schema([TensorSpec(kind, (-1, len(card.class_names)))]),
        ),
        "input_example": example(deployed).numpy(),
        "pip_requirements": [f"torch=={torch.__version__.partition('+')[0]}", f"numpy=={np.__version__}"],
        "metadata": {"classes": list(card.class_names), "genotype": card.genotype},
        "serialization_format": "pt2",
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's hints about its own workings off the screen."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


MLFLOW = Format("mlflow", "mlflow", "an MLflow model, loaded by mlflow.pyfunc without raynas", _write)
"""The format that lies above the core, which knows nothing of MLflow."""
