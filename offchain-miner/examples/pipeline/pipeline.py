"""PyTorch's side of the pipeline measurement: the same model in stages over gloo, or in one process.

Called with a JSON description; prints one JSON line with the rate. Started by the Rust side.
"""

import json
import os
import socket
import sys
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn as nn
import torch.nn.functional as F


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, self.h = c["d_model"], c["n_heads"]
        self.attention_norm = nn.RMSNorm(d, eps=1e-5)
        self.mlp_norm = nn.RMSNorm(d, eps=1e-5)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.output = nn.Linear(d, d, bias=False)
        self.gate_up = nn.Linear(d, 2 * c["d_ff"], bias=False)
        self.down = nn.Linear(c["d_ff"], d, bias=False)
        half = d // self.h // 2
        angle = torch.arange(c["seq_len"])[:, None, None] * 10_000 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos().float())
        self.register_buffer("sin", angle.sin().float())

    def rotate(self, x):
        a, b = x.split_with_sizes([x.shape[-1] // 2] * 2, -1)
        return torch.cat([a * self.cos - b * self.sin, a * self.sin + b * self.cos], dim=-1)

    def forward(self, x):
        b, t, d = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(b, t, 3 * self.h, d // self.h)
        turning, value = qkv.split_with_sizes([2 * self.h, self.h], 2)
        q, key = self.rotate(turning).split_with_sizes([self.h, self.h], 2)
        q, key, value = q.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        out = F.scaled_dot_product_attention(q, key, value, is_causal=True)
        x = x + self.output(out.transpose(1, 2).reshape(x.shape))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Part(nn.Module):
    def __init__(self, c, stage):
        super().__init__()
        first, last = stage == 0, stage == c["stages"] - 1
        self.embedding = nn.Embedding(c["vocab"], c["d_model"]) if first else None
        self.layers = nn.Sequential(*[Layer(c) for _ in range(c["layers"][stage])])
        self.norm = nn.RMSNorm(c["d_model"], eps=1e-5) if last else None
        self.head = nn.Linear(c["d_model"], c["vocab"], bias=False) if last else None

    def forward(self, x):
        if self.embedding is not None:
            x = self.embedding(x)
        x = self.layers(x)
        return x if self.head is None else self.head(self.norm(x))


def loss_of(out, target):
    return F.cross_entropy(out.flatten(0, 1), target.flatten())


def optimizer_of(part):
    return torch.optim.AdamW(part.parameters(), lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True)


def batch(c):
    shape = (c["microbatches"] * c["windows"], c["seq_len"])
    return torch.randint(c["vocab"], shape), torch.randint(c["vocab"], shape)


def finish(part, optimizer):
    torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0, foreach=True)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def say(c, seconds):
    tokens = c["timed"] * c["microbatches"] * c["windows"] * c["seq_len"]
    print(json.dumps({"tokens_per_second": tokens / seconds, "torch": torch.__version__}), flush=True)


def whole(c):
    torch.set_num_threads(c["threads"])
    torch.manual_seed(0)
    c["layers"] = [sum(c["layers"])]
    part = Part(c, 0)
    optimizer = optimizer_of(part)
    for step in range(c["warm_up"] + c["timed"]):
        if step == c["warm_up"]:
            start = time.perf_counter()
        inputs, targets = batch(c)
        for x, y in zip(inputs.chunk(c["microbatches"]), targets.chunk(c["microbatches"])):
            (loss_of(part(x), y) / c["microbatches"]).backward()
        finish(part, optimizer)
    say(c, time.perf_counter() - start)


def stage(rank, c, port):
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B

    torch.set_num_threads(c["threads"])
    torch.manual_seed(0)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group("gloo", rank=rank, world_size=c["stages"])
    part = Part(c, rank)
    pipe = PipelineStage(part, rank, c["stages"], torch.device("cpu"))
    schedule = Schedule1F1B(pipe, n_microbatches=c["microbatches"], loss_fn=loss_of)
    optimizer = optimizer_of(part)
    for step in range(c["warm_up"] + c["timed"]):
        if step == c["warm_up"]:
            dist.barrier()
            start = time.perf_counter()
        inputs, targets = batch(c)
        if rank == 0:
            schedule.step(inputs)
        elif rank == c["stages"] - 1:
            schedule.step(target=targets, losses=[])
        else:
            schedule.step()
        finish(part, optimizer)
    dist.barrier()
    if rank == 0:
        say(c, time.perf_counter() - start)
    dist.destroy_process_group()


def main():
    c = json.loads(sys.argv[1])
    if c["stages"] == 1:
        return whole(c)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(stage, (c, port), nprocs=c["stages"])


if __name__ == "__main__":
    main()
