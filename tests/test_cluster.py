"""cluster.yaml: what Ray checks in it, and the mistakes that Ray accepts."""

import re
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER = Path(__file__).resolve().parents[1] / "cluster.yaml"
MINUTES_TO_BOOT = 5
REQUIREMENTS = [Requirement(line) for line in requires("raynas") or ()]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    """The file as Ray sees it: merged with the provider's defaults."""
    return prepare_config(yaml.safe_load(CLUSTER.read_text(encoding="utf-8")))


def head(cluster: dict[str, Any]) -> dict[str, Any]:
    return cluster["available_node_types"][cluster["head_node_type"]]


def workers(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    types = cluster["available_node_types"].items()
    return [node_type for name, node_type in types if name != cluster["head_node_type"]]


def start_command(cluster: dict[str, Any]) -> str:
    return next(line for line in cluster["head_start_ray_commands"] if "ray start --head" in line)


def test_ray_accepts_the_file(cluster):
    validate_config(cluster)


def test_the_head_offers_nothing_to_trials(cluster):
    assert head(cluster)["resources"] == {"CPU": 0, "GPU": 0}
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(start_command(cluster).split())


def test_the_head_starts_the_autoscaler_and_no_second_head(cluster):
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start_command(cluster)
    assert head(cluster)["min_workers"] == head(cluster)["max_workers"] == 0


def test_the_dashboard_is_not_open_to_the_network(cluster):
    assert "--dashboard-host=127.0.0.1" in start_command(cluster)


def test_gpu_workers_grow_from_none_to_no_more_than_the_ceiling(cluster):
    assert workers(cluster)
    for worker in workers(cluster):
        assert worker["min_workers"] == 0
        assert 0 < worker["max_workers"] <= cluster["max_workers"]
        assert worker["resources"]["GPU"] >= 1
        assert worker["resources"]["CPU"] >= 1


def test_workers_are_spot_and_the_head_is_not(cluster):
    for worker in workers(cluster):
        assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert "InstanceMarketOptions" not in head(cluster)["node_config"]
    assert cluster["provider"]["cache_stopped_nodes"] is False


def test_workers_are_not_given_back_while_they_boot(cluster):
    assert cluster["idle_timeout_minutes"] > MINUTES_TO_BOOT


def test_one_ray_version_everywhere_that_raynas_supports(cluster):
    docker = cluster["docker"]
    images = [docker["head_image"], docker["worker_image"]]
    tags = [re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py3\d+-(?:cpu|gpu)", image) for image in images]
    assert all(tags), images
    pins = re.findall(r"ray\[default,tune\]==([\d.]+)", " ".join(cluster["setup_commands"]))
    assert len(pins) == 1
    (version,) = {tag[1] for tag in tags if tag} | set(pins)
    assert version in next(needed for needed in REQUIREMENTS if needed.name == "ray").specifier


def test_containers_run_a_python_that_raynas_supports(cluster):
    for image in (cluster["docker"]["head_image"], cluster["docker"]["worker_image"]):
        assert int(re.search(r"-py3(\d+)-", image)[1]) >= 11


def test_the_wheel_reaches_every_node_and_is_installed(cluster):
    (folder,) = [remote for remote, local in cluster["file_mounts"].items() if local == "dist"]
    for commands in (cluster["head_setup_commands"], cluster["worker_setup_commands"]):
        assert any(f"{folder}/*.whl" in command for command in commands)


def test_the_shared_folder_is_mounted_and_visible_in_the_container(cluster):
    (mount,) = [command for command in cluster["initialization_commands"] if "mount -t nfs4" in command]
    address, folder = mount.split()[-2:]
    assert re.fullmatch(rf"fs-[\w-]+\.efs\.{cluster['provider']['region']}\.amazonaws\.com:/", address)
    assert f"-v {folder}:{folder}" in cluster["docker"]["run_options"]


def test_every_node_asks_for_the_token_and_has_it(cluster):
    options = cluster["docker"]["run_options"]
    assert "-e RAY_AUTH_MODE=token" in options
    (remote,) = [remote for remote, local in cluster["file_mounts"].items() if local == "~/.ray/auth_token"]
    assert f"-e RAY_AUTH_TOKEN_PATH={remote}" in options
