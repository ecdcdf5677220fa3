"""What a compiled program sends between devices, read off its text."""

import collections
import math
import re

_BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "pred": 1, "f64": 8, "s64": 8}
_ALONE = re.compile(r"replica_groups=(\{\{\d+\}[,}]|\[\d+,1\])")  # groups of one device
_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"


def collective_bytes(text: str) -> dict[str, int]:
    """Bytes of the results of all collectives that a device runs in one call, by kind.

    Those of a loop's body count as often as it runs; those among a single device do not count.

    Args:
        text: `compiled.as_text()`.
    """
    own, calls, entry, name = {}, collections.defaultdict(list), None, None
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line):
            name = head[2]
            own[name] = collections.Counter()
            entry = name if head[1] else entry
            continue
        operation = re.search(rf"= (.*?) ({_KINDS})(?:-start)?\(", line)
        if operation and name and not _ALONE.search(line):
            own[name][operation[2]] += _size(operation[1])
        times = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
        for body in re.findall(
            r"(?:body|to_apply|calls|branch_computations)=\{?%?([\w.\-]+)", line
        ):
            calls[name].append((body, int(times[1]) if times else 1))

    def total(name):
        found = collections.Counter(own.get(name, {}))
        for body, times in calls[name]:
            found.update({kind: times * size for kind, size in total(body).items()})
        return found

    return dict(total(entry))


def _size(shapes: str) -> int:
    return sum(
        _BYTES[kind] * math.prod(int(n) for n in extents.split(",") if n)
        for kind, extents in re.findall(r"(\w+)\[([\d,]*)\]", shapes)
    )
