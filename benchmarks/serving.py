"""--mode=serve under load: requests a second and latencies, beside the model alone; and a soak.

    python benchmarks/serving.py --workdir=runs/ml1m [--concurrency=1,8,32,128] [--seconds=5]
        [--histories=1] [--soak=100000] [--json=FILE]

The model alone is timed first, in a process of its own. Then the server runs as its user starts it,
and this process is the client: so many connections, each of which asks for 10 items, waits for the
answer and asks again. Histories are drawn by popularity, their lengths evenly from 1 to the model's
longest. Both processes share this machine's cores. The soak sends so many requests over 32
connections, a tenth of them malformed in one of many ways, and watches the server's memory.

The client needs `pip install -r benchmarks/serving.txt`.
"""

import argparse
import asyncio
import collections
import itertools
import json
import pathlib
import re
import subprocess
import sys
import time

import aiohttp
import harness
import numpy as np

from bert4rec_jax import allocator

SOAK_CONNECTIONS = 32
GOOD = 9  # of ten requests of a soak
JSON = {"Content-Type": "application/json"}

# name -> (method, path, body, statuses that may be answered; None: the connection may be closed)
MALFORMED = {
    "no JSON": ("POST", "/recommend", b'{"histories": ', {400}),
    "no UTF-8": ("POST", "/recommend", b"\xff\xfe\xfd", {400}),
    "empty": ("POST", "/recommend", b"", {422}),
    "deep": ("POST", "/recommend", b"[" * 100_000, {400}),
    "half a character": ("POST", "/recommend", rb'{"histories": [["\ud800"]]}', {422}),
    "numbers": ("POST", "/recommend", b'{"histories": [[1, 2]]}', {422}),
    "k too large": ("POST", "/recommend", b'{"histories": [[]], "k": 100000}', {422}),
    "k endless": ("POST", "/recommend", b'{"histories": [[]], "k": %s}' % (b"9" * 6000), {400}),
    "too long a history": (
        "POST",
        "/recommend",
        json.dumps({"histories": [["1"] * 1001]}).encode(),
        {422},
    ),
    "too large": ("POST", "/recommend", b"x" * (2 << 20), {413, None}),
    "no such setting": ("POST", "/recommend", b'{"histories": [[]], "top": 3}', {422}),
    "wrong method": ("DELETE", "/recommend", b"", {405}),
    "wrong path": ("GET", "/recommend/1/%00/..", b"", {404}),
    "wrong query": ("GET", "/items?limit=-1&q=%ff%00", b"", {422}),
}
# Sent as they are.
RAW = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "half a body": b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--concurrency", default="1,8,32,128")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each concurrency")
    parser.add_argument("--histories", type=int, default=1, help="in each request")
    parser.add_argument("--soak", type=int, default=0, help="requests of the soak; 0: none")
    parser.add_argument("--json", help="a file for everything that was measured")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # the child
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(time_model(options.workdir)))
        return
    command = [sys.executable, __file__, "--alone", f"--workdir={options.workdir}"]
    alone = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    found = {"machine": harness.machine(), "model_alone": alone, "load": {}}
    lines = [", ".join(f"{key} {value}" for key, value in found["machine"].items()), ""]
    lines += ["| the model alone | ms a batch | histories/s |", "|---|---|---|"]
    lines += [
        f"| {one['histories']} x {one['width']} | {1e3 * one['seconds']:.2f} "
        f"| {one['histories'] / one['seconds']:.0f} |"
        for one in alone
    ]
    with Server(options.workdir) as server:
        lines += ["", "| connections | requests/s | p50 ms | p99 ms |", "|---|---|---|---|"]
        requests = good_requests(options.workdir, options.histories)
        for connections in map(int, options.concurrency.split(",")):
            print(f"{connections} connections", file=sys.stderr)
            one = asyncio.run(load(server.address, requests, connections, options.seconds))
            found["load"][connections] = one
            lines.append(
                f"| {connections} | {one['requests_per_second']:.0f} "
                f"| {1e3 * one['p50']:.1f} | {1e3 * one['p99']:.1f} |"
            )
        if options.soak:
            found["soak"] = asyncio.run(soak(server, requests, options.soak))
            lines += ["", *soak_lines(found["soak"])]
    harness.finish(found, "\n".join(lines), options.json)
    if options.soak and found["soak"]["failures"]:
        sys.exit(1)


def time_model(workdir: str) -> list[dict]:
    """Seconds of each program of the server, the median of at least 20 calls."""
    allocator.keep_freed_memory()
    from bert4rec_jax import Recommender
    from bert4rec_jax.serving.engine import BATCH_SIZES, Engine, Question

    recommender = Recommender.load(workdir)
    n, longest = len(recommender.vocab), recommender.max_length
    engine, rng, found = Engine(recommender, k=min(100, n)), np.random.default_rng(0), []
    for size, width in itertools.product(BATCH_SIZES, (-(-longest // 4), longest)):
        questions = [
            Question(rng.integers(1, n + 1, width - 1).astype(np.int32)) for _ in range(size)
        ]
        seconds, until = [], time.perf_counter() + 1.0
        while len(seconds) < 20 or time.perf_counter() < until:
            started = time.perf_counter()
            engine.answer(questions)
            seconds.append(time.perf_counter() - started)
        found.append({"histories": size, "width": width, "seconds": float(np.median(seconds))})
    return found


class Server:
    """The server in a process of its own: `address`, and its memory."""

    def __init__(self, workdir: str):
        self._command = [sys.executable, str(harness.ROOT / "main.py"), "--mode=serve"]
        self._command += [f"--workdir={workdir}", "--port=0"]

    def __enter__(self) -> "Server":
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            print(line, end="", file=sys.stderr)
            if found := re.search(r"serving (http://\S+)", line):
                self.address = found[1]
                return self
        sys.exit(f"error: the server ended with exit code {self._process.wait()}")

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.communicate()

    def resident_mib(self) -> float:
        text = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def good_requests(workdir: str, histories: int, count: int = 2000) -> list[bytes]:
    """Bodies of requests to /recommend."""
    from bert4rec_jax.data.catalogue import read_catalogue

    vocab, counts, _ = read_catalogue(pathlib.Path(workdir) / "items.parquet")
    config = json.loads((pathlib.Path(workdir) / "config.json").read_text())
    longest, rng = config["model"]["max_length"] - 1, np.random.default_rng(0)
    weights = counts[1:] / counts.sum()

    def history() -> list[str]:
        drawn = rng.choice(len(vocab), rng.integers(1, longest + 1), p=weights)
        return [vocab.items[item] for item in drawn]

    return [
        json.dumps({"histories": [history() for _ in range(histories)], "k": 10}).encode()
        for _ in range(count)
    ]


async def load(address: str, requests: list[bytes], connections: int, seconds: float) -> dict:
    """Each connection asks again as soon as it is answered."""
    latencies = []
    bodies = itertools.cycle(requests)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client(until: float, noted: list[float]) -> None:
            while (started := time.perf_counter()) < until:
                async with session.post(
                    f"{address}/recommend", data=next(bodies), headers=JSON
                ) as response:
                    await response.read()
                    response.raise_for_status()
                noted.append(time.perf_counter() - started)

        async def all_clients(seconds: float, noted: list[float]) -> float:
            started = time.perf_counter()
            await asyncio.gather(*(client(started + seconds, noted) for _ in range(connections)))
            return time.perf_counter() - started

        await all_clients(min(1.0, seconds), [])  # connections are made, and caches filled
        took = await all_clients(seconds, latencies)
    return {
        "requests_per_second": len(latencies) / took,
        "p50": float(np.quantile(latencies, 0.5)),
        "p99": float(np.quantile(latencies, 0.99)),
        "requests": len(latencies),
    }


async def soak(server: Server, requests: list[bytes], count: int) -> dict:
    """What was answered to what, and the server's memory along the way."""
    statuses = collections.defaultdict(collections.Counter)
    memory, failures = [(0, server.resident_mib())], []
    kinds = itertools.cycle([*MALFORMED, *RAW])
    numbers, bodies, started = iter(range(1, count + 1)), itertools.cycle(requests), time.time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client() -> None:
            for number in numbers:
                if number % 10 < GOOD:
                    kind, wanted = "good", {200}
                    status = await send(session, server.address, "POST", "/recommend", next(bodies))
                elif (kind := next(kinds)) in RAW:
                    wanted, status = {400, None}, await send_raw(server.address, RAW[kind])
                else:
                    *request, wanted = MALFORMED[kind]
                    status = await send(session, server.address, *request)
                statuses[kind][str(status)] += 1
                if status not in wanted:
                    failures.append(f"{kind}: {status}")
                if number % max(count // 20, 1) == 0:
                    memory.append((number, server.resident_mib()))
                    print(f"soak {number}/{count}  {memory[-1][1]:.0f} MiB", file=sys.stderr)

        await asyncio.gather(*(client() for _ in range(SOAK_CONNECTIONS)))
    return {
        "requests": count,
        "seconds": time.time() - started,
        "statuses": {kind: dict(counts) for kind, counts in statuses.items()},
        "resident_mib": memory,
        "failures": failures,
    }


async def send(session, address: str, method: str, path: str, body: bytes) -> int | None:
    """The status; None where the connection was closed before one came."""
    try:
        async with session.request(method, address + path, data=body, headers=JSON) as response:
            await response.read()
            return response.status
    except aiohttp.ClientConnectionError:
        return None


async def send_raw(address: str, data: bytes) -> int | None:
    host, _, port = address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        writer.write_eof()
        line = await asyncio.wait_for(reader.readline(), 30)
        return int(line.split()[1]) if line else None
    except ConnectionError:
        return None
    finally:
        writer.close()


def soak_lines(found: dict) -> list[str]:
    statuses = collections.Counter()
    for counts in found["statuses"].values():
        statuses.update(counts)
    memory = found["resident_mib"]
    start, middle, end = (memory[i] for i in (0, len(memory) // 2, -1))
    return [
        f"soak: {found['requests']:,} requests in {found['seconds']:.0f} s; "
        + ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))
        + " (None: the connection was closed)",
        "resident memory: "
        + ", ".join(f"{mib:.0f} MiB after {number:,}" for number, mib in (start, middle, end)),
        f"answered otherwise than they should be: {len(found['failures'])}",
        *sorted(set(found["failures"])),
    ]


if __name__ == "__main__":
    main()
