"""What might close the gap of a narrow boundary: one change at a time, on one model and one text.

`scripts/bench trials` runs it and writes docs/results/trials.md. The model, the initial weights' sizes, the
optimizer, the clip and the codes are those of the miner at d 256; it is written in PyTorch because most of what is
tried here is in no run, and what does not help shall not stand in the trainer. One process plays all three stages.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

D, LAYERS, HEADS, FF, VOCAB, T, WINDOWS, STAGES = 256, 6, 8, 688, 256, 128, 4, 3
LR, BETAS, DECAY, RAMP, EPS = 1.5e-3, (0.9, 0.95), 0.05, 10, 1e-5
HELD, LAST, LAST_STEP = 128, 4, 4  # Windows of an evaluation; evaluations whose mean counts; samples between them.

ROWS = {
    "whole": "the whole stream as bf16",
    "whole-int8": "the whole stream as int8: 2x",
    "whole-int4": "the whole stream as int4: 4x",
    "whole-muon": "the whole stream as bf16, Muon for the layers' matrices",
    "bottleneck": "d/16 channels, int4: what `bottleneck-64x` is",
    "bottleneck-muon": "the same, Muon for the layers' matrices",
    "bottleneck-warm-100": "encoder's and decoder's rate rises over 100 steps instead of 10",
    "bottleneck-fast": "encoder and decoder at four times the rate",
    "bottleneck-disjoint": "identity channels 0 to 15 at the first cut, 16 to 31 at the second",
    "bottleneck-wide-first": "d/8 channels at the first cut, d/16 at the second: 1.5 times the bytes",
    "bottleneck-wide-last": "d/16 channels at the first cut, d/8 at the second: 1.5 times the bytes",
    "bottleneck-random-encoder": "encoder and decoder begin at random (0.02), not at zero",
    "bottleneck-unsized": "tokens leave as large as they are, without the division by their root mean square",
    "bottleneck-unit": "tokens leave with a root mean square of one instead of sqrt(d/b)",
    "subspace": "shared subspace of d/16, int4: what `subspace-64x` is",
    "subspace-muon": "the same, Muon for the layers' matrices",
    "subspace-small-fixed": "the fixed embedding begins at 0.02 instead of 1",
    "subspace-turning": "the basis turns along its gradient, by 0.02 every tenth step",
    "subspace-turning-fast": "the same, by 0.1",
}
# Rows with every seed; the others have the first alone, and are to be read with these rows' spread in mind.
SPREAD = [
    "whole",
    "bottleneck",
    "bottleneck-warm-100",
    "bottleneck-disjoint",
    "bottleneck-wide-first",
]
REFERENCE = {
    name: ("whole-muon" if name.endswith("muon") and name != "whole-muon" else "whole") for name in ROWS
}


def codes(x, most):
    """Block-scaled codes and back: 32 values share a power of two, `most` is the largest code."""
    flat = x.reshape(-1, 32)
    largest = flat.abs().amax(-1, keepdim=True).clamp_min(1e-30)
    scale = torch.exp2(torch.ceil(torch.log2(largest / most)))
    return ((flat / scale).round().clamp(-most, most) * scale).view_as(x)


class Cross(torch.autograd.Function):
    """What a message does to values and, on the way back, to their gradient."""

    @staticmethod
    def forward(ctx, x, most):
        ctx.most = most
        return codes(x, most) if most else x.bfloat16().float()

    @staticmethod
    def backward(ctx, g):
        g = g.contiguous()
        return (codes(g, ctx.most) if ctx.most else g.bfloat16().float()), None


def rotary():
    half = D // HEADS // 2
    rate = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(T, dtype=torch.float64)[:, None, None] * rate
    return angle.cos().float(), angle.sin().float()


def turned(x, tables):
    (cos, sin), (a, b) = tables, x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Model:
    """Three stages; `self.p[name]` are the parameters, `self.stage[name]` says whose they are."""

    def __init__(self, row, seed):
        self.row, self.kind = row, row.split("-")[0]
        self.most = {"whole": 0, "whole-muon": 0, "whole-int8": 127}.get(row, 7)
        self.b = [16, 16]
        if row == "bottleneck-wide-first":
            self.b = [32, 16]
        if row == "bottleneck-wide-last":
            self.b = [16, 32]
        self.offset = [0, 16] if row == "bottleneck-disjoint" else [0, 0]
        self.tables = rotary()
        self.p, self.stage = {}, {}
        g = torch.Generator().manual_seed(seed)
        self.draw = lambda *shape, std=0.02: torch.randn(*shape, generator=g) * std
        self.build()

    def add(self, stage, name, value):
        self.p[name], self.stage[name] = value.requires_grad_(), stage

    def build(self):
        narrow = self.kind == "subspace"
        wide, residual = (16 if narrow else D), 0.02 / math.sqrt(2 * LAYERS)
        # All that rows have in common is drawn first and alike.
        self.add(0, "embedding", self.draw(VOCAB, D)[:, :wide].clone())
        for layer in range(LAYERS):
            stage = layer * STAGES // LAYERS
            self.add(stage, f"{layer}.attention_norm", torch.ones(D))
            self.add(stage, f"{layer}.qkv", self.draw(3 * D, D))
            self.add(stage, f"{layer}.output", self.draw(D, D, std=residual)[:wide].clone())
            self.add(stage, f"{layer}.mlp_norm", torch.ones(D))
            self.add(stage, f"{layer}.gate_up", self.draw(2 * FF, D))
            self.add(stage, f"{layer}.down", self.draw(D, FF, std=residual)[:wide].clone())
        self.add(STAGES - 1, "norm", torch.ones(D))
        self.add(STAGES - 1, "head", self.draw(VOCAB, D))
        std = 0.02 if self.row == "bottleneck-random-encoder" else 0.0
        if self.kind == "bottleneck":
            for cut, b in enumerate(self.b):
                self.add(cut, f"encoder.{cut}", self.draw(b, D, std=std))
                self.add(cut + 1, f"decoder.{cut}", self.draw(D, b, std=std))
        if narrow:
            self.basis = torch.linalg.qr(self.draw(D, 16, std=1.0))[0].requires_grad_()
            self.fixed = self.draw(VOCAB, D, std=0.02 if self.row == "subspace-small-fixed" else 1.0)

    def widen(self, x):
        return x @ self.basis.T if self.kind == "subspace" else x

    def layer(self, x, at):
        p = lambda name: self.p[f"{at}.{name}"]
        qkv = F.linear(F.rms_norm(x, [D], p("attention_norm"), EPS), p("qkv"))
        qkv = qkv.view(*x.shape[:2], 3 * HEADS, D // HEADS)
        q, k = turned(qkv[:, :, : 2 * HEADS], self.tables).chunk(2, 2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, qkv[:, :, 2 * HEADS :]))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        x = x + self.widen(F.linear(out, p("output")))
        gate, up = F.linear(F.rms_norm(x, [D], p("mlp_norm"), EPS), p("gate_up")).chunk(2, -1)
        return x + self.widen(F.linear(F.silu(gate) * up, p("down")))

    def cross(self, x, cut, tokens):
        if self.kind == "whole":
            return Cross.apply(x, self.most)
        if self.kind == "subspace":
            fixed = self.fixed[tokens]
            return Cross.apply((x - fixed) @ self.basis, self.most) @ self.basis.T + fixed
        b, at = self.b[cut], self.offset[cut]
        z = F.linear(x, self.p[f"encoder.{cut}"]) + x[..., at : at + b]
        if self.row != "bottleneck-unsized":
            z = F.rms_norm(z, [b], None, EPS)
            z = z if self.row == "bottleneck-unit" else z * math.sqrt(D / b)
        z = Cross.apply(z, self.most)
        return F.linear(z, self.p[f"decoder.{cut}"]) + F.pad(z, (at, D - b - at))

    def loss(self, windows):
        tokens, targets = windows[:, :-1], windows[:, 1:]
        x = self.p["embedding"][tokens]
        if self.kind == "subspace":
            x = self.widen(x) + self.fixed[tokens]
        for layer in range(LAYERS):
            x = self.layer(x, layer)
            cut, ends = divmod(layer + 1, LAYERS // STAGES)
            if ends == 0 and cut < STAGES:
                x = self.cross(x, cut - 1, tokens)
        logits = F.linear(F.rms_norm(x, [D], self.p["norm"], EPS), self.p["head"])
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def orthogonal(g):
    """The nearest orthogonal matrix, nearly: five steps of Muon's Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / (g.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Optimizer:
    """AdamW as miners have it, one clip for each stage; Muon, scaled to AdamW's steps, where a row says so."""

    def __init__(self, model):
        self.model, self.t = model, 0
        self.state = {name: [torch.zeros_like(p) for _ in range(2)] for name, p in model.p.items()}
        total = sum(p.numel() for p in model.p.values())
        self.parts = [[n for n in model.p if model.stage[n] == s] for s in range(STAGES)]
        self.clip = [math.sqrt(sum(model.p[n].numel() for n in part) / total) for part in self.parts]

    def rate(self, name):
        coder, ramp = name.startswith(("encoder", "decoder")), RAMP
        if coder and self.model.row == "bottleneck-warm-100":
            ramp = 100
        factor = 4.0 if coder and self.model.row == "bottleneck-fast" else 1.0
        return LR * factor * min(1.0, self.t / ramp)

    @torch.no_grad()
    def step(self):
        self.t += 1
        for part, clip in zip(self.parts, self.clip):
            norm = torch.stack([self.model.p[n].grad.norm() for n in part]).norm()
            for name in part:
                self.update(name, self.model.p[name], self.model.p[name].grad * min(1.0, clip / (norm + 1e-6)))
                self.model.p[name].grad = None
        if self.model.kind == "subspace":
            self.turn()

    def update(self, name, p, g):
        first, second = self.state[name]
        matrix = p.dim() == 2 and name[0].isdigit()
        lr = self.rate(name)
        if matrix or name == "head":
            p.mul_(1 - lr * DECAY)
        if matrix and self.model.row.endswith("muon"):
            first.mul_(0.95).add_(g)
            # A step of Muon has a root mean square of 1/sqrt(longer side); 0.2 is AdamW's usual one.
            p.sub_(orthogonal(g + 0.95 * first), alpha=lr * 0.2 * math.sqrt(max(p.shape)))
            return
        first.lerp_(g, 1 - BETAS[0])
        second.lerp_(g * g, 1 - BETAS[1])
        fix = math.sqrt(1 - BETAS[1] ** self.t)
        p.sub_(first / (second.sqrt() / fix + 1e-8), alpha=lr / (1 - BETAS[0] ** self.t))

    def turn(self):
        """Turns the basis against its gradient, within the matrices with orthonormal columns."""
        basis, g = self.model.basis, self.model.basis.grad
        angle = {"subspace-turning": 0.02, "subspace-turning-fast": 0.1}.get(self.model.row, 0.0)
        if angle and self.t % 10 == 0:
            along = g - basis @ (basis.T @ g)
            along = along * (angle * math.sqrt(basis.shape[1]) / (along.norm() + 1e-12))
            q, r = torch.linalg.qr(basis - along)
            basis.copy_(q * r.diagonal().sign())
            basis.grad = None
        if not angle or self.t % 10 == 0:
            basis.grad = None


def train(row, seed, samples, text):
    torch.set_num_threads(1)
    data = torch.tensor(list(text), dtype=torch.long)
    cut = len(data) * 99 // 100
    held = data[cut:]
    windows = torch.stack([held[i * (len(held) - T - 1) // HELD :][: T + 1] for i in range(HELD)])
    order = torch.randperm((cut - 1) // T, generator=torch.Generator().manual_seed(seed))
    model = Model(row, seed)
    optimizer, curve = Optimizer(model), []
    for done in range(1, samples + 1):
        sample = torch.stack([data[i * T : i * T + T + 1] for i in order[(done - 1) * WINDOWS : done * WINDOWS]])
        model.loss(sample).backward()
        optimizer.step()
        left = samples - done
        if (left % LAST_STEP == 0 and left < LAST * LAST_STEP) or done % max(1, samples // 12) == 0:
            with torch.no_grad():
                parts = [model.loss(part).item() * len(part) for part in windows.split(32)]
            curve.append((done, sum(parts) / HELD))
    return sum(loss for _, loss in curve[-LAST:]) / LAST, curve


def finished(state, samples):
    known = {}
    for line in state.read_text().splitlines() if state.exists() else []:
        try:
            one = json.loads(line)
        except json.JSONDecodeError:
            continue  # Cut short: measured again.
        if one["samples"] == samples:
            known[one["row"], one["seed"]] = one
    return known


def work(options):
    """Measures what is missing, the first seed of every row first, in as many processes as asked."""
    known = finished(options.state, options.samples)
    wanted = [(r, s) for s in range(options.seeds) for r in options.rows if s == 0 or r in SPREAD]
    todo = [one for one in wanted if one not in known]
    running = []
    while todo or running:
        while todo and len(running) < options.jobs:
            row, seed = todo.pop(0)
            print(f"seed {seed} {row}: training, {len(todo)} rows left after it", flush=True)
            command = [sys.executable, __file__, "--one", row, str(seed), "--samples", str(options.samples)]
            running.append(subprocess.Popen(command + ["--data", str(options.data)], stdout=subprocess.PIPE, text=True))
        for process in [p for p in running if p.poll() is not None]:
            running.remove(process)
            answer = process.stdout.read()
            if process.returncode:
                raise SystemExit(f"a row ended with {process.returncode}")
            one = json.loads(answer)
            with options.state.open("a") as out:
                out.write(answer)
            print(f"seed {one['seed']} {one['row']}: held-out {one['heldout']:.4f}, {one['seconds']:.0f} s", flush=True)
        time.sleep(0.5)


def page(options):
    known = finished(options.state, options.samples)
    seeds = lambda row: [s for s in range(options.seeds) if (row, s) in known]
    loss = lambda row, seed: known[row, seed]["heldout"]
    lines = []
    for row in (row for row in options.rows if seeds(row)):
        base = REFERENCE[row]
        both = [s for s in seeds(row) if (base, s) in known]
        gaps = [100 * (loss(row, s) / loss(base, s) - 1) for s in both]
        kind = row.split("-")[0]
        own = [100 * (loss(row, s) / loss(kind, s) - 1) for s in seeds(row) if (kind, s) in known and row != kind]
        several = lambda values: ", ".join(f"{v:+.1f}" for v in values)
        lines.append(
            f"| `{row}` | {ROWS[row]} | {sum(loss(row, s) for s in seeds(row)) / len(seeds(row)):.4f} "
            f"| {sum(gaps) / len(gaps):+.1f} ({several(gaps)}) "
            f"| {f'{sum(own) / len(own):+.1f} ({several(own)})' if own else ''} |"
        )
    chosen = "" if options.rows == list(ROWS) else f" --rows {','.join(options.rows)}"
    processor = sum(one["seconds"] for one in known.values()) / 60
    return f"""# What might close the gap of a narrow boundary

The model of compression.md at d {D} ({LAYERS} layers in {STAGES} stages, {WINDOWS} x {T} tokens a sample), trained for
{options.samples} samples with one change at a time; int4 codes in both directions where the row does not say otherwise.

* Command: `scripts/bench trials --samples {options.samples} --seeds {options.seeds}{chosen}`
* Machine: 2 cores, CPU only, one thread a row, {processor:.0f} minutes of a processor in all; PyTorch {torch.__version__}
* Date: {options.date}

| row | what it is | held-out loss | gap to the whole stream, % (each seed) | against the same without the change, % (each seed) |
| --- | --- | ---: | ---: | ---: |
{os.linesep.join(lines)}

* Losses are nats per byte on {HELD} held-out windows, the mean of the last {LAST} evaluations, {LAST_STEP} samples apart. A gap is
  taken seed by seed; rows with Muon are held against the whole stream with Muon.
* All rows of a seed read the same windows in the same order and start from the same weights where they have the same
  tensors. One process plays all stages and no weights move between the passes of a sample.
* This is a model of the trainer, not the trainer: same shapes, sizes of initial weights, AdamW, clip for each stage and
  codes with a power of two for 32 values, but PyTorch's random numbers. Its first rows can be held against compression.md.
* That identity channels are the first ones and not others cannot matter by itself: channels of the stream are alike
  before training. What can is whether both cuts pass the same ones, which is the row `bottleneck-disjoint`.
* A step of Muon is scaled so that it is as long as one of AdamW usually is; norms, embedding, head, encoders and decoders
  stay with AdamW. Its rate was not tuned.
"""


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench trials", description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=600, help="training samples of each row, 512 tokens each")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of the rows that are compared most, counted from 0")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS), help="only these, by comma")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time, one thread each")
    parser.add_argument("--data", type=Path, default=Path("data/shakespeare.txt"), help="text to train on")
    parser.add_argument("--state", type=Path, default=os.environ.get("IOTA_BENCH_STATE"), help="finished rows, one a line")
    parser.add_argument("--out", type=Path, default=Path("docs/results/trials.md"), help="page to write")
    parser.add_argument("--finished", action="store_true", help="train nothing, write the page of what is finished")
    parser.add_argument("--date", default="not stated", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        row, seed = options.one[0], int(options.one[1])
        begun = time.process_time()
        heldout, curve = train(row, seed, options.samples, options.data.read_bytes())
        seconds = time.process_time() - begun
        one = {"row": row, "seed": seed, "samples": options.samples, "heldout": heldout, "curve": curve, "seconds": seconds}
        print(json.dumps(one))
        return
    unknown = [row for row in options.rows if row not in ROWS]
    if unknown:
        raise SystemExit(f"error: unknown rows {', '.join(unknown)}; known are {', '.join(ROWS)}")
    if not options.state:
        raise SystemExit("error: --state FILE says where finished rows are kept")
    options.state = Path(options.state)
    options.state.parent.mkdir(parents=True, exist_ok=True)
    if not options.finished:
        work(options)
    options.out.write_text(page(options))
    print(options.out.read_text())


main()
