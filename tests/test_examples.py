"""The files in examples/: their form, the options they pass, and what the guide says of them.

Those that can be run here are run: examples/torchrun_hosts.sh by tests/train/ranks/test_torchrun_hosts.py, and
examples/slurm_train.sbatch by tests/data/cluster/test_slurm_training.py.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config.load import load_train_config

SCRIPTS = ("slurm_train.sbatch", "torchrun_hosts.sh")
MANIFESTS = ("skypilot.yaml", "kubernetes/jobset.yaml", "kubernetes/trainjob.yaml")


def read(repository: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((repository / "examples" / name).read_text())
    return found


def test_each_example_is_tested_and_in_the_guide(repository: Path) -> None:
    there = {
        path.relative_to(repository / "examples").as_posix()
        for path in (repository / "examples").rglob("*")
        if path.is_file()
    }
    assert there == {*SCRIPTS, *MANIFESTS}
    guide = (repository / "docs/guide/clusters.md").read_text()
    for name in there:
        assert f"examples/{name}" in guide
        assert re.search(r"^# (Tried|Not run)", (repository / "examples" / name).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_well_formed(name: str, repository: Path) -> None:
    subprocess.run(["bash", "-n", repository / "examples" / name], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", repository / "examples" / name], check=True)


@pytest.mark.parametrize("name", [*SCRIPTS, *MANIFESTS])
def test_options_of_an_example_are_the_programs(name: str, repository: Path) -> None:
    text = (repository / "examples" / name).read_text()
    words = re.findall(r'--[a-z]+\.[a-z_]+=[^\s"]+|--[a-z]+\.[a-z_]+="[^"]*"', text)
    recipes = set(re.findall(r"(?:-C +|- )((?:rn50_configs/)?rn50_88_epochs(?:\.yaml)?)", text))
    config, _ = load_train_config(
        [*(f"-C{one}" for one in recipes), *{word.replace('"', "") for word in words}]
    )
    assert config.training.epochs
    # The script that SkyPilot's task starts passes it.
    assert config.training.resume == "auto" or name == "skypilot.yaml"


def test_skypilot_task_has_the_keys_of_one(repository: Path) -> None:
    """Its schema is not here: keys as SkyPilot 0.14 knows them."""
    task = read(repository, "skypilot.yaml")
    known = {"name", "num_nodes", "workdir", "resources", "envs", "file_mounts", "setup", "run"}
    assert task.keys() <= known
    assert task["resources"].keys() <= {"accelerators", "use_spot", "disk_size", "job_recovery"}
    assert set(re.findall(r"\$\{?(SKYPILOT_\w+)", task["run"])) == {
        *("SKYPILOT_NODE_IPS", "SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES", "SKYPILOT_NUM_GPUS_PER_NODE")
    }
    for script in (task["setup"], task["run"]):
        subprocess.run(["bash", "-n", "-c", script], check=True)
    assert set(re.findall(r"\$\{?([A-Z]+)\b", task["run"])) == task["envs"].keys()


def test_jobset_has_a_pod_for_each_host(repository: Path) -> None:
    jobset = read(repository, "kubernetes/jobset.yaml")
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (group,) = jobset["spec"]["replicatedJobs"]
    job = group["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    command = container["command"][2]
    hosts = int(re.findall(r"--nnodes=(\d+)", command)[0])
    assert job["parallelism"] == job["completions"] == hosts and job["completionMode"] == "Indexed"
    # Jobs with a policy for failed pods may not restart them.
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    name = jobset["metadata"]["name"]
    assert f"--master-addr={name}-{group['name']}-0-0.{name} " in command
    _check_pod(job["template"]["spec"], container["volumeMounts"])


def test_trainjob_patches_the_runtimes_container(repository: Path) -> None:
    trainjob = read(repository, "kubernetes/trainjob.yaml")
    assert (trainjob["apiVersion"], trainjob["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    spec = trainjob["spec"]
    assert spec.keys() == {"runtimeRef", "trainer", "runtimePatches"}
    assert spec["trainer"].keys() == {"numNodes", "image", "command", "args", "resourcesPerNode"}
    (group,) = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = group["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert group["name"] == container["name"] == "node"
    _check_pod(pod, container["volumeMounts"])


def _check_pod(pod: dict[str, Any], mounts: list[dict[str, str]]) -> None:
    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in pod["volumes"]}
    assert {"/dev/shm", "/data"} == {mount["mountPath"] for mount in mounts}
    assert pod["securityContext"]["runAsUser"] == 1000, "the Dockerfile's"
    assert pod["terminationGracePeriodSeconds"] >= 60
