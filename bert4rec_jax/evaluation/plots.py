"""The report's pictures, each a PNG as bytes: the same input gives the same bytes.

Matplotlib's object interface only, so that no state outlives a call. Importing this module imports
matplotlib, which takes about a second: whoever starts a training imports it late.
"""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

# A picture is readable at half its size, beside another one or on a phone.
_WIDTH, _HEIGHT, _DPI = 4.4, 3.2, 200  # inches, inches, pixels per inch

# Colours that the colour-blind tell apart (Okabe and Ito, 2008); shape tells them apart as well.
_BLUE, _SKY = "#0072B2", "#8CC7E8"
_SERIES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"))
_INK, _FAINT = "#333333", "#DDDDDD"

_style = matplotlib.rc_context(
    {
        "font.family": ["DejaVu Sans"],  # comes with matplotlib, so it is the same everywhere
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "axes.linewidth": 0.8,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.axisbelow": True,
        "grid.color": _FAINT,
        "grid.linewidth": 0.6,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "lines.markersize": 4,
    }
)


@_style
def training_loss(steps: Sequence[int], losses: Sequence[float]) -> bytes:
    """Mean loss per predicted item, in nats, against steps."""
    figure, axes = _figure()
    axes.plot(steps, losses, color=_BLUE)
    axes.set(xlabel="steps", ylabel="loss, nats per predicted item")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(axis="y")
    return _png(figure)


@_style
def validation(
    x: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    metric: str,
    xlabel: str,
    best: float | None,
    second: tuple[str, float] | None = None,
) -> bytes:
    """One metric on validation, a curve a protocol.

    Args:
        x: where the validations were made, in the unit that `xlabel` names.
        curves: protocol -> values of `metric`, as many as `x`.
        best: the place on the x axis of the checkpoint that was kept.
        second: another unit for an axis on top: its label and how many of it there are to one of
            the lower axis.
    """
    figure, axes = _figure()
    for i, (protocol, values) in enumerate(curves.items()):
        colour, marker = _SERIES[i % len(_SERIES)]
        # The two sampled protocols come close: the wider line shows behind the later one.
        axes.plot(x, values, color=colour, marker=marker, label=protocol, linewidth=max(3 - i, 1))
    if best is not None:
        axes.axvline(best, color=_INK, linewidth=0.8, linestyle=(0, (4, 3)), label="kept")
    axes.set(xlabel=xlabel, ylabel=f"validation {metric}")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    if second:  # it counts, and so does the lower axis
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(axis="y")
    if second:
        label, ratio = second
        top = axes.secondary_xaxis("top", functions=(lambda v: v * ratio, lambda v: v / ratio))
        top.set_xlabel(label)
        top.xaxis.set_major_formatter(EngFormatter(sep=""))
        top.spines["top"].set_visible(True)
    figure.legend(loc="outside lower center", ncols=2)
    return _png(figure)


def place_bins(last: int) -> list[tuple[int, int]]:
    """Bins (first, last place), about equally wide on a logarithmic scale, that cover 1..`last`.

    >>> place_bins(30)
    [(1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 30)]
    """
    ends = [factor * 10**power for power in range(len(str(last))) for factor in (1, 2, 5)]
    ends = [end for end in ends if end < last] + [last]
    return [(before + 1, end) for before, end in zip([0, *ends[:-1]], ends, strict=True)]


@_style
def rank_histogram(ranks: np.ndarray, *, title: str, index: int) -> bytes:
    """The share of users by the place of their true item.

    Args:
        ranks: int [users], 0 = best; drawn as places, which begin at 1.
        index: of the protocol in the run; gives it the colour it has in `validation`.
    """
    bins = place_bins(int(ranks.max()) + 1)
    counts, _ = np.histogram(ranks + 1, [*(first for first, _ in bins), bins[-1][1] + 1])
    shares = 100 * counts / len(ranks)
    figure, axes = _figure(height=2.7)
    bars = axes.bar(range(len(bins)), shares, width=0.92, color=_SERIES[index % len(_SERIES)][0])
    axes.bar_label(bars, [f"{share:.1f}" for share in shares], fontsize=7, padding=1)
    labels = [f"{first}" if first == last else f"{first}–{last}" for first, last in bins]
    axes.set_xticks(range(len(bins)), labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set(title=title, xlabel="place of the true item (logarithmic bins)", ylabel="users, %")
    axes.margins(x=0.01, y=0.12)
    axes.tick_params(axis="x", length=0, labelsize=8)
    return _png(figure)


@_style
def breakdown(groups: Mapping[str, Mapping[str, float]], *, metrics: Sequence[str]) -> bytes:
    """Metrics by group, as bars beside each other, with whiskers from low to high of "interval".

    Args:
        groups: label -> figures by metric; a group of no users has none, and no bar.
        metrics: at most two.
    """
    figure, axes = _figure(height=2.9)
    width = 0.84 / len(metrics)
    for i, (metric, colour) in enumerate(zip(metrics, (_BLUE, _SKY), strict=False)):
        shown = {g: f for g, f in enumerate(groups.values()) if metric in f}
        places = [g + (i - (len(metrics) - 1) / 2) * width for g in shown]
        values = [figures[metric] for figures in shown.values()]
        bars = axes.bar(places, values, width=width * 0.95, color=colour, label=metric)
        axes.bar_label(bars, [f"{value:.3f}" for value in values], fontsize=7, padding=1)
        for bar, value, figures in zip(bars, values, shown.values(), strict=True):
            low, high = figures.get("interval", {}).get(metric, (value, value))
            # At the bar's edge, so that the number above it stays legible.
            place = bar.get_x() + 0.03 * bar.get_width()
            axes.vlines(place, low, high, color="#444", linewidth=0.9)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylabel("mean over users")
    axes.margins(y=0.1)
    axes.tick_params(axis="x", length=0)
    figure.legend(loc="outside upper center", ncols=2)
    return _png(figure)


@_style
def attention_maps(attention: np.ndarray) -> bytes:
    """A heat-map a layer and head, all on one scale (the paper's Figure 2).

    Args:
        attention: float32 [layers, heads, P, P] from `attention.average_attention`.
    """
    layers, heads, size, _ = attention.shape
    # Heads beyond two make the picture wider, never a map smaller than can be read.
    width = _WIDTH * max(1.0, heads / 2)
    figure = Figure(figsize=(width, 0.42 * _WIDTH * layers + 0.3), layout="constrained")
    grid = figure.subplots(layers, heads, sharex=True, sharey=True, squeeze=False)
    offsets = np.arange(-size + 1, 1)
    for layer, head in np.ndindex(layers, heads):
        axes = grid[layer, head]
        image = axes.imshow(
            attention[layer, head],
            cmap="viridis",
            vmin=0,
            vmax=float(attention.max()),
            extent=(offsets[0] - 0.5, 0.5, 0.5, offsets[0] - 0.5),
        )
        axes.set_title(f"layer {layer + 1}, head {head + 1}")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.spines[:].set_visible(False)
        axes.label_outer(remove_inner_ticks=True)
    figure.supxlabel("attended position", fontsize=9)
    figure.supylabel("attending position", fontsize=9)
    bar = figure.colorbar(image, ax=grid, shrink=0.6, aspect=30)
    bar.set_label("attention, mean over users")
    bar.outline.set_visible(False)
    return _png(figure)


def _figure(height: float = _HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the name of the program, whose version would change the bytes.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
