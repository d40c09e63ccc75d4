"""The package as a whole: what an import costs, who may import whom, and that tests cannot reach the network."""

import re
import resource
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import firsthand

REPOSITORY = Path(__file__).parents[1]
WITHOUT_TORCH = ("", ".records", ".errors", ".config", ".data", ".teacher", ".forge", ".reward", ".report", ".cli")
HEAVY = {"torch", "transformers"}


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_the_version_is_the_installed_one() -> None:
    assert firsthand.__version__ == version("firsthand")


def test_the_package_has_no_other_attributes_out_of_nowhere() -> None:
    with pytest.raises(AttributeError, match="no attribute 'verison'"):
        _ = firsthand.verison  # type: ignore[attr-defined]


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (Path(firsthand.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_importing_this_room_does_not_import_torch(room: str) -> None:
    loaded = run_python("-c", f"import sys, firsthand{room}; print(*sys.modules)").stdout.split()
    assert f"firsthand{room}" in loaded
    assert not HEAVY & set(loaded)


def test_help_imports_neither_torch_nor_transformers() -> None:
    done = run_python("-X", "importtime", "-m", "firsthand", "--help")
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "firsthand" in imported
    assert not HEAVY & imported
    for command in ("demo", "train", "evaluate", "report", "doctor"):
        assert command in done.stdout


def test_help_takes_under_half_a_second() -> None:
    def seconds() -> float:
        # Of processor time: what a user waits for on an idle machine, whatever else runs on this one.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_python("-m", "firsthand", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)

    assert min(seconds() for _ in range(3)) < 0.5


def test_the_rooms_import_each_other_only_one_way() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_tests_reach_this_machine_but_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    with socket.socket() as client, pytest.raises(RuntimeError, match="tried to reach"):
        client.connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="tried to look up"):
        socket.getaddrinfo("example.org", 80)


def test_two_tests_draw_the_same_numbers(seed: int) -> None:
    import random

    first = random.random()
    random.seed(seed)
    assert random.random() == first


def test_the_lock_has_the_known_good_versions_and_a_hash_for_each() -> None:
    known = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split() if "==" in line)
    parts = re.split(r"\n(?=[a-z0-9])", (REPOSITORY / "requirements.lock").read_text())[1:]
    locked = dict(part.split()[0].split("==") for part in parts)
    same = {name.lower().replace("_", "-"): version for name, version in known.items()}
    assert {"torch", "transformers", "pyarrow"} <= locked.keys()
    assert {name: version for name, version in locked.items() if same.get(name, version) != version} == {}
    assert [part.split()[0] for part in parts if "--hash=sha256:" not in part] == []
