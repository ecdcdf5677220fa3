"""How far a long piece of work is, for the person at the terminal."""

import sys
import time

from tqdm import tqdm

from bert4rec_jax import console


class Progress:
    """A bar on a terminal; elsewhere one plain line per report. Rate and time left in both.

    Args:
        total, done: of `unit`, a word whose plural ends in "s".
    """

    def __init__(self, *, total: int, done: int, unit: str = "step"):
        self._total, self._last, self._unit = total, (done, time.monotonic()), unit
        self._rate = None
        self._bar = None
        if sys.stderr.isatty() and not console.is_silent():
            self._bar = tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True)

    def report(self, step: int, **values: str) -> None:
        """Show that so many are done, and `values` beside."""
        now = time.monotonic()
        steps, seconds = step - self._last[0], now - self._last[1]
        self._last = (step, now)
        text = "  ".join(f"{name} {value}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(steps)
            return
        rate = steps / max(seconds, 1e-9)
        self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate
        left = tqdm.format_interval((self._total - step) / self._rate) if self._rate else "?"
        parts = [f"{self._unit} {step}/{self._total}", text, f"{rate:.2f} {self._unit}s/s"]
        self.say("  ".join([part for part in parts if part] + [f"left {left}"]))

    def skip_time(self) -> None:
        """Time until now was not spent on steps: leave it out of the rate."""
        self._last = (self._last[0], time.monotonic())

    def say(self, line: str) -> None:
        """A line above the bar."""
        if self._bar is None:
            console.say(line)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
