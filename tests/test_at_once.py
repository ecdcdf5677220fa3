"""Commands of a line of Python each."""

import os
import signal

import pytest


@pytest.fixture(scope="module")
def at_once(load_script):
    return load_script("at_once")


def command(text):
    return ["-c", f"import os, pathlib, signal, sys, time\n{text}"]


def test_so_many_at_a_time_in_their_order(at_once, tmp_path):
    """Each waits until so many have begun as there may be, and fails where one more has."""
    wait = f"""
here = pathlib.Path({str(tmp_path)!r})
place = int(sys.argv[1])
(here / f"begun{{place}}").touch()
until = time.monotonic() + 60
while len(list(here.glob("begun*"))) < min(5, 2 * (place // 2) + 2):
    assert time.monotonic() < until
    time.sleep(0.01)
assert len(list(here.glob("begun*"))) - len(list(here.glob("ended*"))) <= 2
print("place", place)
(here / f"ended{{place}}").touch()
"""
    commands = {f"n{place}": [*command(wait), str(place)] for place in range(5)}
    assert at_once.run_all(commands, 2, tmp_path / "logs") == {name: 0 for name in commands}
    for place in range(5):
        assert (tmp_path / "logs" / f"n{place}.log").read_text() == f"place {place}\n"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are shared on Linux only")
def test_each_has_its_share_of_the_cores_and_its_own_exit_code(at_once, tmp_path):
    cores = os.sched_getaffinity(0)
    text = "print(*sorted(os.sched_getaffinity(0)), flush=True); sys.exit('said on stderr')"
    codes = at_once.run_all({"one": command(text), "two": command("")}, 1, tmp_path)
    assert codes == {"one": 1, "two": 0}
    expected = " ".join(str(core) for core in sorted(cores))
    assert (tmp_path / "one.log").read_text().splitlines() == [expected, "said on stderr"]
    count = len(cores)
    commands = {f"n{i}": command(text) for i in range(count)}
    at_once.run_all(commands, count, tmp_path)
    shares = [int((tmp_path / f"n{i}.log").read_text().splitlines()[0]) for i in range(count)]
    assert sorted(shares) == sorted(cores)
    assert os.sched_getaffinity(0) == cores


def test_a_stop_is_handed_on_and_waited_for(at_once, tmp_path):
    """What follows a stop is not begun, and a Ctrl-C comes to the others as SIGTERM, once."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background job
    saves = f"""
came = []
signal.signal(signal.SIGTERM, lambda *_: came.append("SIGTERM"))
signal.signal(signal.SIGINT, lambda *_: came.append("SIGINT"))
pathlib.Path({str(tmp_path / "ready")!r}).touch()
while not came:
    time.sleep(0.01)
time.sleep(0.3)
print(*came)
"""
    stops = f"""
while not pathlib.Path({str(tmp_path / "ready")!r}).exists():
    time.sleep(0.01)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""
    commands = {"saves": command(saves), "stops": command(stops), "never": command("")}
    with pytest.raises(KeyboardInterrupt):
        at_once.run_all(commands, 2, tmp_path)
    assert (tmp_path / "saves.log").read_text() == "SIGTERM\n"
    assert not (tmp_path / "never.log").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
