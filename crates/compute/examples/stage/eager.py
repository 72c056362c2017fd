"""The same stage in PyTorch eager: reads a description and commands, answers with JSON lines.

Started by the Rust side, which owns shapes, weights, inputs and gradients (raw fp32 files). Boundary
values come as they are: this side neither codes nor hashes what crosses.
"""

import ctypes
import gc
import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F


def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def received(values, shape):
    """What has come in, written into a new tensor's memory, as our side decodes it."""
    flat = torch.zeros(values.size)
    ctypes.memmove(flat.data_ptr(), values.ctypes.data, values.nbytes)
    return flat.view(shape)


class Stage:
    def __init__(self, config):
        self.c = config
        flat = np.fromfile(config["weights"], dtype=np.float32)
        self.p, groups = {}, {True: [], False: []}
        for spec in config["tensors"]:
            part = flat[spec["offset"] : spec["offset"] + spec["len"]]
            leaf = torch.nn.Parameter(torch.from_numpy(part.copy()).view(spec["shape"]))
            self.p[spec["name"]] = leaf
            groups[spec["decay"]].append(leaf)
        del flat
        t = config["train"]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": groups[True], "weight_decay": t["weight_decay"]},
                {"params": groups[False], "weight_decay": 0.0},
            ],
            lr=t["lr"],
            betas=(t["beta1"], t["beta2"]),
            eps=1e-8,
            fused=True,
        )
        half = config["d_model"] // config["n_heads"] // 2
        rate = config["rope_base"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(config["seq_len"], dtype=torch.float64)[:, None, None] * rate
        self.cos, self.sin = angle.cos().float(), angle.sin().float()
        self.z = np.fromfile(config["input"], dtype=np.float32)
        self.g = np.fromfile(config["gradient"], dtype=np.float32)
        self.steps = 0

    def rotate(self, x):
        a, b = x.split_with_sizes([x.shape[-1] // 2] * 2, -1)
        return torch.cat([a * self.cos - b * self.sin, a * self.sin + b * self.cos], dim=-1)

    def layer(self, x, name):
        c, p = self.c, self.p
        d, h, k = c["d_model"], c["n_heads"], c["n_kv_heads"]
        n = F.rms_norm(x, [d], p[name + ".attention_norm.weight"], 1e-5)
        qkv = F.linear(n, p[name + ".qkv.weight"])
        qkv = qkv.view(qkv.shape[0], qkv.shape[1], h + 2 * k, d // h)
        turning, value = qkv.split_with_sizes([h + k, k], 2)
        q, key = self.rotate(turning).split_with_sizes([h, k], 2)
        q, key, value = q.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        out = F.scaled_dot_product_attention(q, key, value, is_causal=True, enable_gqa=h != k)
        x = x + F.linear(out.transpose(1, 2).reshape(x.shape), p[name + ".output.weight"])
        n = F.rms_norm(x, [d], p[name + ".mlp_norm.weight"], 1e-5)
        gate_up = F.linear(n, p[name + ".gate_up.weight"])
        gate, up = gate_up.split_with_sizes([gate_up.shape[-1] // 2] * 2, -1)
        return x + F.linear(F.silu(gate) * up, p[name + ".down.weight"])

    def forward(self):
        c, p = self.c, self.p
        d, b = c["d_model"], c["bottleneck"]
        self.leaf = received(self.z, c["boundary_shape"])
        self.leaf.requires_grad = True
        x = F.linear(self.leaf, p[c["decoder"]]) + torch.constant_pad_nd(self.leaf, (0, d - b))
        for name in c["layers"]:
            x = self.layer(x, name)
        z = F.linear(x, p[c["encoder"]]) + x.narrow(-1, 0, b)
        self.out = F.rms_norm(z, [b], None, 1e-5) * (d / b) ** 0.5

    def backward(self):
        g = received(self.g, self.c["boundary_shape"])
        leaves = [*self.p.values(), self.leaf]
        for leaf, grad in zip(leaves, torch.autograd.grad(self.out, leaves, g)):
            leaf.grad = grad

    def step(self):
        t = self.c["train"]
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = t["lr"] * min(self.steps / t["ramp"], 1.0)
        torch.nn.utils.clip_grad_norm_(self.p.values(), self.c["clip"], foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def timed(phases):
    wall, cpu = [], []
    for phase in phases:
        start = (time.perf_counter(), time.process_time())
        phase()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return {"wall": wall, "cpu": cpu}


def counted(library, phases):
    counter = ctypes.CDLL(library)
    counter.operators_stop.restype = ctypes.c_char_p
    counter.operators_start()
    for phase in phases:
        phase()
    return counter.operators_stop().decode()


def touch():
    """Loads what every training loads, so that the code's own pages do not count as its memory."""
    w = torch.nn.Parameter(torch.ones(8, 8))
    optimizer = torch.optim.AdamW([w], fused=True)
    x = F.rms_norm(F.linear(torch.ones(2, 4, 8), w), [8])
    q = x.view(2, 4, 2, 4).transpose(1, 2)
    F.silu(F.scaled_dot_product_attention(q, q, q, is_causal=True)).sum().backward()
    torch.nn.utils.clip_grad_norm_([w], 1.0, foreach=True)
    optimizer.step()


def main():
    config = json.loads(sys.stdin.readline())
    torch.set_num_threads(config["threads"])
    touch()
    gc.collect()
    before = status("VmRSS")
    stage = Stage(config)
    gc.collect()
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "step":
            answer = timed([stage.forward, stage.backward, stage.step])
        elif command == "memory":
            answer = {"bytes": status("VmHWM") - before}
        elif command == "count":
            answer = {"text": counted(argument, [stage.forward, stage.backward])}
            stage.step()
        elif command == "weights":
            flat = np.concatenate([leaf.detach().numpy().ravel() for leaf in stage.p.values()])
            flat.tofile(argument)
            answer = {"values": int(flat.size)}
        else:
            raise SystemExit(f"unknown command {command!r}")
        print(json.dumps(answer), flush=True)


main()
