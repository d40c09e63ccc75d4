"""One model, the same items, four roads to its accuracy: two of ours, lmms-eval's, and plain transformers.

    python benchmarks/same_accuracy.py --out DIR [--model FOLDER] [--number 200] [--seed 0] [--steps] [--dtype auto]

    ours           `evaluate_folder`: batched decoding with shared prefixes
    served         the same, with the model behind a real server (`transformers serve`)
    lmms-eval      a task folder of `write_lmms_task`, through lmms-eval's OpenAI-compatible chat model, from the same
                   server, which decodes one request at a time
    plain          benchmarks/plain_generate.py: `generate`, one item at a time

All greedy, at most 256 tokens, weights in float32; `--dtype auto` lets the server keep the folder's own type. `--steps`
asks for step-by-step answers: long replies, in which one other token would show. lmms-eval and the server run in an
environment of their own (`--env`), which sees this one's torch and transformers; it is made once, and needs a package
index then.
"""

import argparse
import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import firsthand
from firsthand.data import write_examples
from firsthand.evaluation import Protocol
from firsthand.evaluation.custom import evaluate_folder
from firsthand.evaluation.lmms.task import write_lmms_task
from firsthand.recipe import Data
from firsthand.records import Example, content_id
from firsthand.reward import Router
from firsthand.teacher import Endpoint, InFlight
from firsthand.worlds import SMALL

FAMILIES = ("count", "digits", "chart", "geometry", "locate")
TOKENS = 256
LMMS_EVAL = "lmms-eval==0.7.3"
SEEN = (sysconfig.get_paths()["purelib"], str(Path(firsthand.__file__).parents[1]))
"""What the environment sees of this one: the packages beside firsthand, and firsthand."""
# Without dependencies: lmms-eval has those of all its tasks, torchvision wants another build of torch.
ALONE = [LMMS_EVAL, "torchvision==0.28.0"]
NEEDED = ["fastapi", "uvicorn", "openai", "python-multipart", "datasets", "evaluate", "loguru", "python-dotenv"]
NEEDED += ["pytablewriter", "pytz", "sacrebleu", "tenacity"]
# As it is, it takes <think>...</think> out of the replies of Qwen's families, and they could not be compared.
SERVE = """from transformers.cli.serving import utils
utils._RESPONSE_TEMPLATE_FALLBACKS.clear()
from transformers.cli.transformers import main
main()"""
SHIM = '''"""torchvision has no build beside the CPU's torch: its two operators are declared, and Pillow decodes."""
import io, numpy, torch
from PIL import Image

library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

def decode_image(data, mode="RGB", apply_exif_orientation=False):
    raw = data.numpy().tobytes() if isinstance(data, torch.Tensor) else open(data, "rb").read()
    return torch.from_numpy(numpy.array(Image.open(io.BytesIO(raw)).convert("RGB"))).permute(2, 0, 1)

import torchvision.io
torchvision.io.decode_image = torchvision.io.image.decode_image = decode_image
'''


CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "firsthand"
ENV = CACHE / f"lmms-eval-{content_id(sys.version, *SEEN, *ALONE, *NEEDED, SHIM)[:16]}"
"""Kept between runs; whatever it is made of is in its name."""


def environment(folder: Path = ENV) -> Path:
    """A Python with lmms-eval and what serving needs, made once. Raises CalledProcessError without a package index."""
    python, done = folder / "bin/python", folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be making it
        if not done.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
            site = next(folder.glob("lib/python*/site-packages"))
            (site / "outside.pth").write_text("".join(f"{path}\n" for path in SEEN))
            pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
            for packages in (NEEDED, ["--no-deps", *ALONE]):
                subprocess.run([*pip, "install", "--quiet", *packages], check=True, capture_output=True, text=True)
            (site / "sitecustomize.py").write_text(SHIM)
            done.touch()
    return python


@contextmanager
def server(python: Path, log: Path, dtype: str = "float32") -> Iterator[str]:
    """`transformers serve` on this machine; its base URL. A model is loaded when a request names its folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-c", SERVE, "serve"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", dtype]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=quiet())
    try:
        end = time.monotonic() + 120
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def quiet(**more: str) -> dict[str, str]:
    """The processes' environment: one thread, no network."""
    alone = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **alone, **more}


def questions(number: int, seed: int, steps: bool = False) -> list[Example]:
    """Test items of every world that rules can score, in equal parts; no two are equal, so that ids tell them apart."""
    drawn = Data(worlds=FAMILIES, split="test", number=2 * number, seed=seed).load()
    examples = list({example.id: example for example in drawn}.values())[:number]
    if not steps:
        return examples
    asked = [{"question": f"{e.question} Think step by step.", "id": ""} for e in examples]
    return [Example(**{**dict(e), **words}) for e, words in zip(examples, asked, strict=True)]


def by_us(model: Path | Endpoint, data: Path, out: Path) -> tuple[float, dict[str, str]]:
    """Accuracy, and the replies by example id."""
    run = evaluate_folder(model, Data(path=str(data)), Protocol(max_new_tokens=TOKENS, samples=0), out)
    scores = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    accuracy = json.loads((run / "evaluation.json").read_text())["accuracy"]
    return accuracy, {score["example_id"]: score["greedy"]["reply"]["text"] for score in scores}


def by_us_served(model: Path, data: Path, python: Path, out: Path, dtype: str) -> tuple[float, dict[str, str]]:
    """The same, by requests to a server."""
    with server(python, out / "served.log", dtype) as url:
        few = InFlight(start=2, max=2)
        return by_us(Endpoint(base_url=url, model=str(model.resolve()), in_flight=few), data, out / "served")


def by_lmms_eval(
    model: Path, task: Path, ids: list[str], python: Path, out: Path, dtype: str = "float32"
) -> tuple[float, dict[str, str]]:
    """The same, from the files that lmms-eval writes."""
    with server(python, out / "server.log", dtype) as url:
        command = [str(python), "-m", "lmms_eval", "eval", "--include_path", str(task.parent), "--tasks", task.stem]
        command += ["--model", "async_openai", "--model_args", f"model={model.resolve()},base_url={url},num_cpus=2"]
        command += ["--log_samples", "--output_path", str(out / "lmms-eval")]
        home = quiet(OPENAI_API_KEY="none", HF_HOME=str(out / "hf"))
        done = subprocess.run(command, env=home, capture_output=True, text=True)
    (out / "lmms-eval.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(f"lmms-eval failed: {(done.stdout + done.stderr)[-3000:]}")
    (samples,) = (out / "lmms-eval").rglob("*_samples_*.jsonl")
    (results,) = (out / "lmms-eval").rglob("*_results.json")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    accuracy = json.loads(results.read_text())["results"][task.stem]["accuracy,none"]
    return accuracy, {ids[row["doc_id"]]: row["filtered_resps"] for row in rows}


def by_plain_generate(model: Path, task: Path, examples: list[Example], out: Path) -> tuple[float, dict[str, str]]:
    """The same; the replies are judged here, with the same verifiers."""
    script, data, found = (
        Path(__file__).with_name("plain_generate.py"),
        task.parent / "data/test.parquet",
        out / "plain",
    )
    command = [sys.executable, str(script), str(model), str(data), str(found), str(TOKENS)]
    subprocess.run(command, env=quiet(), check=True, capture_output=True, text=True)
    replies = {row["id"]: row["reply"] for row in map(json.loads, found.read_text().splitlines())}
    with Router() as router:
        scores = [verdict.score for verdict in router.judge_many([(replies[e.id], e) for e in examples])]
    measured = [score for score in scores if score is not None]
    return fmean(measured), replies


def compare(model: Path, examples: list[Example], python: Path, out: Path, dtype: str = "float32") -> dict[str, Any]:
    """All four: accuracy and seconds of each, and the items whose replies are not the same text on all roads."""
    out.mkdir(parents=True)
    data, ids = out / "items.parquet", [example.id for example in examples]
    write_examples(examples, data)
    task = write_lmms_task(examples, out / "task", name="firsthand_worlds", max_new_tokens=TOKENS)
    roads = {
        "ours": lambda: by_us(model, data, out / "ours"),
        "served": lambda: by_us_served(model, data, python, out, dtype),
        "lmms-eval": lambda: by_lmms_eval(model, task, ids, python, out, dtype),
        "plain": lambda: by_plain_generate(model, task, examples, out),
    }
    table: dict[str, Any] = {"items": len(ids), "accuracy": {}, "seconds": {}}
    texts = {}
    for name, road in roads.items():
        start = time.perf_counter()
        table["accuracy"][name], texts[name] = road()
        table["seconds"][name] = round(time.perf_counter() - start, 1)
    differing = [{name: text.get(i) for name, text in texts.items()} for i in ids]
    table["characters per reply"] = sum(map(len, texts["ours"].values())) / len(texts["ours"])
    table["differing"] = [row for row in differing if len(set(row.values())) > 1]
    return table


def main() -> None:
    """Print the table as JSON, and keep it in DIR/table.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=SMALL)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--dtype", default="float32", choices=("float32", "auto"))
    parser.add_argument("--env", type=Path, default=ENV)
    chosen = parser.parse_args()
    items = questions(chosen.number, chosen.seed, chosen.steps)
    table = compare(chosen.model, items, environment(chosen.env), chosen.out, chosen.dtype)
    (chosen.out / "table.json").write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n")
    print(json.dumps(table, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
