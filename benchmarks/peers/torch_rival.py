"""An optimised PyTorch BERT4Rec, with the levers that this program has. Needs torch, numpy, polars.

Levers of --variant, joined by "+" (none: padded rows, eager, float32):

    bucketed grouped packed   the layout of a batch, see torch_data.py
    plain                     attention by two matrix products, not scaled_dot_product_attention
    cheap hash                dropout from fewer random bits, or from a hash (best compiled)
    asked                     the last block computes the masked places only
    fused                     cross-entropy in blocks, its logits never all stored
    compile                   torch.compile
    bf16                      autocast to bfloat16
    noattn                    no dropout on attention probabilities: NOT the same model
    keep                      freed memory stays in the process, as our own program has it
"""

import pathlib
import sys
import time

import contestant
import torch
import torch_data
import torch_model

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from bert4rec_jax import allocator

LAYOUTS = ("bucketed", "grouped", "packed")
LEVERS = {*LAYOUTS, "plain", "cheap", "hash", "asked", "fused", "compile", "bf16"}
LEVERS |= {"noattn", "keep"}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def levers_of(variant: str) -> set[str]:
    levers = set(variant.split("+")) - {""}
    if unknown := levers - LEVERS:
        sys.exit(f"torch has no variant {min(unknown)}; there are {', '.join(sorted(LEVERS))}")
    return levers


def make_model(options, levers, items) -> torch_model.Encoder:
    torch.manual_seed(options.seed)
    return torch_model.Encoder(
        options,
        items=items,
        attention_dropout=0.0 if "noattn" in levers else options.attention_dropout,
        dropout=torch_model.DROPOUTS[next(iter(levers & {"cheap", "hash"}), "library")],
        attention=torch_model.ATTENTIONS["plain" if "plain" in levers else "library"],
    ).to(DEVICE)


def make_optimizer(model) -> torch.optim.Optimizer:
    parameters = list(model.named_parameters())

    def is_decayed(name):
        return "bias" not in name and "norm" not in name

    groups = [
        {"params": [p for n, p in parameters if is_decayed(n)], "weight_decay": 0.01},
        {"params": [p for n, p in parameters if not is_decayed(n)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, fused=True)


def prepare(options):
    levers = levers_of(options.variant)
    if "keep" in levers:
        allocator.keep_freed_memory()
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")  # a GPU's TF32; a CPU has no such thing
    log = torch_data.read(options)
    model = make_model(options, levers, len(log.vocab))
    versions = {"torch": torch.__version__, "device": DEVICE}
    if options.task == "evaluate":
        sys.exit("the PyTorch program is there for training only")
    layout = next((name for name in LAYOUTS if name in levers), "padded")
    sampler = torch_data.Sampler(log, options, layout)
    fill = sampler.fill()
    return {"versions": versions, "fill": fill}, _training(options, levers, sampler, model)


def _training(options, levers, sampler, model):
    model.train()
    optimizer = make_optimizer(model)
    loss_of = model.loss
    if "compile" in levers:
        # Shapes change from batch to batch in every layout but the padded one.
        loss_of = torch.compile(loss_of, dynamic=None)

    def step():
        batch = sampler()
        asked = "asked" in levers
        fields = (batch.ids, batch.positions, batch.segments)
        ids, positions, segments, masked, labels, *places = (
            torch.from_numpy(x).to(DEVICE, non_blocking=True)
            for x in (
                *fields,
                batch.slots if asked else batch.masked,
                batch.labels,
                *(batch.asked if asked else ()),
            )
        )
        with torch.autocast(DEVICE, torch.bfloat16, enabled="bf16" in levers):
            loss = loss_of(
                ids,
                positions,
                segments,
                batch.groups,
                masked,
                labels,
                "fused" in levers,
                places or None,
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach(), batch

    def synchronized_step():
        step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    steps = contestant.steps_per_round(synchronized_step, options.seconds_per_round, warm_up=6)

    def run_round():
        started, losses, batches = time.perf_counter(), [], []
        for _ in range(steps):
            loss, batch = step()
            losses.append(loss)
            batches.append(batch)
        loss = float(torch.stack(losses).mean())  # waits for the device
        return {
            "seconds": time.perf_counter() - started,
            "rows": sum(b.rows for b in batches),
            "items": sum(b.items for b in batches),
            "cells": sum(len(b.ids) for b in batches),
            "steps": steps,
            "loss": loss,
        }

    return run_round


if __name__ == "__main__":
    contestant.main(prepare)
