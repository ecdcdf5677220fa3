"""--mode=serve as a process: a newer checkpoint while requests run, and SIGTERM among them."""

import contextlib
import json
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.command.program import run, start


def get(address, path):
    with urllib.request.urlopen(f"{address}/{path}", timeout=30) as response:
        return response.read().decode()


def recommend(address, histories):
    request = urllib.request.Request(
        f"{address}/recommend",
        json.dumps({"histories": histories, "k": 2}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["results"]


def histories_answered(address) -> float:
    lines = get(address, "metrics").splitlines()
    return next(float(x.split()[1]) for x in lines if x.startswith("bert4rec_batch_histories_sum"))


@contextlib.contextmanager
def serving(cache, *arguments):
    """(process, address, lines said before it was ready)."""
    process = start(cache, "--mode=serve", "--port=0", *arguments)
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if " serving http" in line:
                break
        assert process.poll() is None, said
        yield process, said[-1].partition(" serving ")[2].split()[0], said
    finally:
        process.kill()
        process.communicate()


class Asking(threading.Thread):
    """Asks one request after another; keeps what came back."""

    def __init__(self, address):
        super().__init__()
        self.address, self.steps, self.errors, self.enough = address, [], [], False
        self.start()

    def run(self):
        while not self.enough:
            try:
                self.steps += [x["checkpoint"] for x in recommend(self.address, [["i1"], ["i2"]])]
            except urllib.error.URLError as error:
                self.errors.append(error)
                return


def test_a_newer_checkpoint_without_losing_a_request_and_an_end_in_order(trained, cache, tmp_path):
    """The run's best checkpoint is taken away before the start, and comes back as training
    would write it: under another name first."""
    workdir = shutil.copytree(trained[0], tmp_path / "run")
    best = json.loads((workdir / "results.json").read_text())["train"]["best_step"]
    other = {6: 12, 12: 6}[best]
    folder = workdir / "checkpoints"
    (folder / str(best)).rename(tmp_path / "kept")
    titles = tmp_path / "titles.csv"
    titles.write_text("item,title\ni1,First\n")
    options = (f"--workdir={workdir}", f"--titles={titles}", "--reload_seconds=0.05")
    with serving(cache, *options) as (process, address, said):
        assert address.startswith("http://127.0.0.1:")
        assert len(said) == 1
        assert json.loads(get(address, "healthz"))["checkpoint"] == other
        assert json.loads(get(address, "items?q=first"))["items"] == [
            {"item": "i1", "title": "First"}
        ]
        clients = [Asking(address) for _ in range(3)]
        shutil.copytree(tmp_path / "kept", folder / "writing")
        (folder / "writing").rename(folder / str(best))
        deadline = time.monotonic() + 60
        while not all(best in client.steps for client in clients):
            assert time.monotonic() < deadline, process.poll()
            time.sleep(0.02)
        assert "bert4rec_compilations_total 0.0" in get(address, "metrics")
        assert 'bert4rec_reloads_total{result="swapped"} 1.0' in get(address, "metrics")
        for client in clients:
            client.enough = True
            client.join()
            assert not client.errors
            assert client.steps == sorted(client.steps, key=[other, best].index)

        answers, before = [], histories_answered(address)
        large = threading.Thread(
            target=lambda: answers.append(recommend(address, [["i1", "i2"]] * 64))
        )
        large.start()
        deadline = time.monotonic() + 60
        while histories_answered(address) == before:  # until the first of its batches has begun
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)
        large.join()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert err.splitlines() == [
            f"serving checkpoint {best}",
            "stopped: every request that had begun is answered",
        ]
        assert [len(answer) for answer in answers] == [64]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workdir=nowhere",), "not a run's config"),
        (("--max_k=0",), "--max_k 0 must be above 0"),
        (("--port=70000",), "port"),
    ],
)
def test_serving_with_a_mistake(cache, arguments, words):
    done = run(cache, "--mode=serve", "--port=0", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
