"""BERT4Rec in PyTorch, as bert4rec_jax/encoder.py defines it, written for speed.

Tokens of all rows are one matrix [T, d]; only attention knows rows, and takes them a group of equal
length at a time (torch_data.py). Masked places are gathered before the output layer.
"""

import torch
from torch import nn
from torch.nn import functional as F

# Logits that exist at one time: 4 Mi float32 are 16 MiB, so that a block stays near the cache.
LOGITS_AT_ONCE = 1 << 22


class Encoder(nn.Module):
    """Attributes:
    dropout: one of DROPOUTS, (x, rate) -> x.
    attention: one of ATTENTIONS.
    """

    def __init__(self, options, *, items, attention_dropout, dropout, attention):
        super().__init__()
        width = options.hidden
        self.items, self.rate, self.drop = items, options.dropout, dropout
        self.item_embedding = nn.Parameter(torch.empty(items, width))
        self.mask_embedding = nn.Parameter(torch.empty(width))
        self.position_embedding = nn.Parameter(torch.empty(options.max_length, width))
        self.embedding_norm = nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.ModuleList(
            Block(width, options.heads, options.dropout, attention_dropout, dropout, attention)
            for _ in range(options.layers)
        )
        self.output_dense = nn.Linear(width, width)
        self.output_norm = nn.LayerNorm(width, eps=1e-12)
        self.output_bias = nn.Parameter(torch.zeros(items))
        for name, parameter in self.named_parameters():
            if name.endswith("embedding") or parameter.dim() == 2:
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)
            elif name.endswith(".bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids, positions, segments, groups, asked=None):
        """int64 [T] each -> hidden vectors [T, d].

        With `asked`, for each group the places int64 [rows, S] that the last block computes ->
        those of all groups, one after another: [sum of rows * S, d].
        """
        # PAD has no row: what stands at padding is never attended to and never predicted.
        x = F.embedding((ids - 1).clamp(0, self.items - 1), self.item_embedding)
        x = torch.where((ids == self.items + 1)[:, None], self.mask_embedding, x)
        x = x + F.embedding(positions, self.position_embedding)
        x = self.embedding_norm(x)
        if self.training:
            x = self.drop(x, self.rate)
        masks = masks_of(segments, groups)
        for block in self.blocks[:-1]:
            x = block(x, masks, groups)
        return self.blocks[-1](x, masks, groups, asked)

    def transform(self, hidden):
        """The output layer before the tied table, [..., d] -> [..., d]."""
        return self.output_norm(F.gelu(self.output_dense(hidden)))

    def loss(self, ids, positions, segments, groups, masked, labels, fused: bool, asked=None):
        """The mean cross-entropy over the whole catalogue of the masked places.

        masked: int64 [M], of the T places or, with `asked`, of the places asked.
        """
        hidden = self.transform(self(ids, positions, segments, groups, asked)[masked])
        if fused:
            return CrossEntropy.apply(hidden, self.item_embedding, self.output_bias, labels)
        logits = F.linear(hidden, self.item_embedding, self.output_bias)
        return F.cross_entropy(logits.float(), labels)


class Block(nn.Module):
    def __init__(self, width, heads, rate, attention_rate, dropout, attention):
        super().__init__()
        self.heads, self.rate, self.attention_rate = heads, rate, attention_rate
        self.drop, self.attention = dropout, attention
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.feed_forward_in = nn.Linear(width, 4 * width)
        self.feed_forward_out = nn.Linear(4 * width, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x, masks, groups, asked=None):
        qkv, attended, at = self.qkv(x), [], 0
        for group, ((rows, length), mask) in enumerate(zip(groups, masks, strict=True)):
            size = rows * length
            part = qkv[at : at + size].view(rows, length, 3, self.heads, -1)
            q, k, v = part.permute(2, 0, 3, 1, 4)  # three of [rows, h, length, d/h]
            if asked is not None:
                first = torch.arange(at, at + size, length, device=x.device)
                places = (asked[group] - first[:, None])[:, None, :, None]  # within the row
                q = q.gather(2, places.expand(-1, self.heads, -1, q.shape[-1]))
                mask = mask.gather(2, places.expand(-1, -1, -1, length))
            rate = self.attention_rate if self.training else 0.0
            y = self.attention(q, k, v, mask, rate, self.drop)
            attended.append(y.transpose(1, 2).reshape(-1, x.shape[-1]))
            at += size
        attended = self.attention_out(torch.cat(attended) if len(attended) > 1 else attended[0])
        if asked is not None:
            x = x[torch.cat([places.flatten() for places in asked])]
        x = self.attention_norm(x + self._dropped(attended))
        outer = self.feed_forward_out(F.gelu(self.feed_forward_in(x)))
        return self.feed_forward_norm(x + self._dropped(outer))

    def _dropped(self, x):
        return self.drop(x, self.rate) if self.training else x


def masks_of(segments, groups):
    """For each group, bool [rows, 1, length, length]: whether a place sees another.

    Padding sees padding, so that no row of the softmax is empty.
    """
    masks, at = [], 0
    for rows, length in groups:
        of = segments[at : at + rows * length].view(rows, length)
        masks.append(of[:, None, :, None] == of[:, None, None, :])
        at += rows * length
    return masks


# Attention: (q, k, v, mask, dropout rate, dropout) -> [rows, h, length, d/h].


def library_attention(q, k, v, mask, rate, dropout):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate)


def plain_attention(q, k, v, mask, rate, dropout):
    """The probabilities are stored; dropout on them can then be any."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    probabilities = scores.masked_fill_(~mask, -1e9).softmax(-1)
    return (dropout(probabilities, rate) if rate else probabilities) @ v


ATTENTIONS = {"library": library_attention, "plain": plain_attention}


# Dropout: (x, rate) -> x.


def library_dropout(x, rate):
    return F.dropout(x, rate, training=True)


def cheap_dropout(x, rate):
    """16 random bits an element, four elements a draw: a fourth of the generator's work."""
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
    bits = draws.random_(-(2**63), None).view(torch.int16)[: x.numel()].view(x.shape)
    return torch.where(bits >= round(rate * 65536) - 32768, x * (1 / (1 - rate)), 0.0)


def hash_dropout(x, rate):
    """Bits from a hash of the element's index, as bert4rec_jax/dropout.py; to be compiled."""
    low, high = torch.randint(-(2**31), 2**31 - 1, (2,), device=x.device).to(torch.int32)
    h = torch.arange(x.numel(), dtype=torch.int32, device=x.device) + low
    h = (h ^ ((h >> 16) & 0xFFFF)) * 0x7FEB352D
    h = h ^ high
    h = (h ^ ((h >> 15) & 0x1FFFF)) * (0x846CA68B - 2**32)
    h = (h ^ ((h >> 16) & 0xFFFF)).view(x.shape)
    return torch.where(h >= round(rate * 2**32) - 2**31, x * (1 / (1 - rate)), 0.0)


DROPOUTS = {"library": library_dropout, "cheap": cheap_dropout, "hash": hash_dropout}


class CrossEntropy(torch.autograd.Function):
    """Mean cross-entropy whose logits are never all there: gradients are formed block by block."""

    @staticmethod
    def forward(ctx, hidden, table, bias, labels):
        positions, block = len(hidden), max(1, LOGITS_AT_ONCE // len(table))
        loss = torch.zeros((), device=hidden.device)
        d_hidden = torch.empty_like(hidden)
        d_table = torch.zeros(table.shape, device=table.device)
        d_bias = torch.zeros(bias.shape, device=bias.device)
        narrow, row = table.to(hidden.dtype), torch.arange(block, device=hidden.device)
        for at in range(0, positions, block):
            h, label = hidden[at : at + block], labels[at : at + block]
            logits = torch.addmm(bias.to(h.dtype), h, narrow.T).float()
            of_label = logits[row[: len(h)], label]
            log_total = logits.logsumexp(1)
            loss += (log_total - of_label).sum()
            d_logits = logits.sub_(log_total[:, None]).exp_()
            d_logits[row[: len(h)], label] -= 1.0
            d_bias += d_logits.sum(0)
            d_logits = d_logits.to(h.dtype)
            d_table += d_logits.T @ h
            d_hidden[at : at + block] = d_logits @ narrow
        ctx.save_for_backward(d_hidden, d_table, d_bias)
        ctx.positions = positions
        return loss / positions

    @staticmethod
    def backward(ctx, g):
        scale = g / ctx.positions
        return *(x * scale.to(x.dtype) for x in ctx.saved_tensors), None
