"""The work of small.align as a plain PyTorch loop: a decoder of two layers (RMSNorm, rotary positions, SwiGLU), width 64, four
heads, from nothing, 64 sums a step as padded batches of rows that are tokens already. Needs `pip install torch`.

    python small.py STEPS THREADS

The last line is JSON: seconds of the steps but the first ten, how many these are, the last loss."""
import json
import random
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

steps, threads = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
torch.manual_seed(0)
VOCAB, WIDTH, HEADS, LAYERS, ROWS, LONGEST = 257, 64, 4, 2, 64, 16
END = 256


def angles():
    inverse = 10_000.0 ** (-torch.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
    angle = torch.arange(LONGEST)[:, None] * inverse
    return torch.cat([angle.cos(), angle.cos()], -1), torch.cat([angle.sin(), angle.sin()], -1)


COS, SIN = angles()


def rotate(x):
    first, second = x.chunk(2, -1)
    return x * COS[: x.shape[-2]] + torch.cat([-second, first], -1) * SIN[: x.shape[-2]]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH, eps=1e-5), nn.RMSNorm(WIDTH, eps=1e-5)
        self.q, self.k, self.v, self.out = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4)]
        self.gate, self.up = [nn.Linear(WIDTH, 4 * WIDTH, bias=False) for _ in range(2)]
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        rows, length, _ = x.shape
        y = self.norm1(x)
        q, k, v = [to(y).view(rows, length, HEADS, -1).transpose(1, 2) for to in (self.q, self.k, self.v)]
        a = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        x = x + self.out(a.transpose(1, 2).reshape(rows, length, WIDTH))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
        self.norm = nn.RMSNorm(WIDTH, eps=1e-5)

    def forward(self, tokens):
        return self.norm(self.blocks(self.embed(tokens))) @ self.embed.weight.T


def row(a, b):
    """Tokens, and what each place is to predict: -100 in the question."""
    question, reply = [*f"{a}+{b}=".encode()], [*str(a + b).encode(), END]
    targets = [-100] * (len(question) - 1) + reply + [-100]
    return torch.tensor(question + reply), torch.tensor(targets)


def batch(rows):
    """Padded, as a collator does it."""
    tokens, targets = zip(*rows)
    return pad_sequence(tokens, True, END), pad_sequence(targets, True, -100)


sums = [(a, b) for a in range(100) for b in range(100)]
random.Random(1).shuffle(sums)
net = Decoder()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
rows = [row(a, b) for a, b in sums]
for step in range(steps):
    if step == 10:
        start = time.perf_counter()
    tokens, targets = batch([rows[(step * ROWS + i) % len(rows)] for i in range(ROWS)])
    loss = F.cross_entropy(net(tokens).flatten(0, 1), targets.flatten(), ignore_index=-100)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    last = loss.item()
print(json.dumps({"seconds": time.perf_counter() - start, "steps": steps - 10, "loss": last}))
