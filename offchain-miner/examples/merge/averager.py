"""The other sides of the merge measurement: hivemind's averager with fp16, or gloo's all-reduce.

Called as `averager.py hivemind|gloo PROCESSES MEGABYTES ROUNDS`; prints one JSON line with the seconds of
each round, from the moment at which all processes are ready until the slowest has the mean. For hivemind
that is the all-reduce alone: its group has been found before.
"""

import json
import multiprocessing as mp
import os
import socket
import sys
import time

import torch


def hivemind_peer(index, peers, count, values, rounds, results, barrier):
    import hivemind
    from hivemind.compression import Float16Compression

    torch.set_num_threads(1)
    torch.manual_seed(index)
    dht = hivemind.DHT(
        initial_peers=peers, host_maddrs=["/ip4/127.0.0.1/tcp/0"], start=True,
        use_ipfs=False, use_auto_relay=False, use_relay=False,
    )
    averager = hivemind.DecentralizedAverager(
        [torch.randn(values) + index], dht, prefix="bench", target_group_size=count, min_group_size=count,
        initial_group_bits="", compression=Float16Compression(), min_matchmaking_time=2.0,
        request_timeout=1.5, allreduce_timeout=120, bandwidth=1000.0, start=True,
    )
    times = []
    for _ in range(rounds):
        barrier.wait()
        control = averager.step(timeout=120, wait=False, require_trigger=True)
        while control.stage.name in ("IDLE", "LOOKING_FOR_GROUP"):
            time.sleep(0.01)
        barrier.wait()
        start = time.time()
        control.allow_allreduce()
        assert control.result(120) is not None, "hivemind averaged nothing"
        times.append(time.time() - start)
    with averager.get_tensors() as (mean,):
        error = abs(float(mean.mean()) - (count - 1) / 2)
    results.put((times, error))
    barrier.wait()
    averager.shutdown()
    dht.shutdown()


def hivemind_rounds(count, values, rounds):
    import hivemind

    root = hivemind.DHT(
        host_maddrs=["/ip4/127.0.0.1/tcp/0"], start=True, use_ipfs=False, use_auto_relay=False, use_relay=False
    )
    peers = [str(address) for address in root.get_visible_maddrs()]
    fork = mp.get_context("fork")
    results, barrier = fork.Queue(), fork.Barrier(count)
    processes = [
        fork.Process(target=hivemind_peer, args=(i, peers, count, values, rounds, results, barrier))
        for i in range(count)
    ]
    for process in processes:
        process.start()
    answers = [results.get(timeout=280) for _ in processes]
    for process in processes:
        process.join(10)
    root.shutdown()
    assert max(error for _, error in answers) < 0.05, f"the mean is wrong: {answers}"
    return [max(times) for times in zip(*(times for times, _ in answers))]


def gloo_peer(index, count, values, rounds, port, results):
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group("gloo", rank=index, world_size=count)
    tensor, times = torch.full((values,), float(index)), []
    for _ in range(rounds):
        dist.barrier()
        start = time.time()
        dist.all_reduce(tensor)
        dist.barrier()
        times.append(time.time() - start)
    if index == 0:
        results.put(times)
    dist.destroy_process_group()


def gloo_rounds(count, values, rounds):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=gloo_peer, args=(i, count, values, rounds, port, results)) for i in range(count)
    ]
    for process in processes:
        process.start()
    times = results.get(timeout=280)
    for process in processes:
        process.join(10)
    return times


if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, count, megabytes, rounds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    values = int(megabytes * 1e6 / 4)
    run = {"hivemind": hivemind_rounds, "gloo": gloo_rounds}[kind]
    print(json.dumps(run(count, values, rounds)), flush=True)
