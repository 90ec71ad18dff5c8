#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
"""Times heed's Tiled attention in alternation with that of other libraries, and prints how much faster it is.

Forward, 8 heads of width 64, batch 1, float, tokens row-major [n, 512], heads as blocks of columns: ONNX Runtime's
MultiHeadAttention, and PyTorch's scaled_dot_product_attention if torch can be imported. In every round each library runs
for a moment, one after the other; the fastest run of all rounds counts.

    python3 -m venv peers && peers/bin/pip install -r benchmarks/peers/requirements.txt
    peers/bin/python benchmarks/peers/peers.py build/compare/benchmarks/heed_benchmarks
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

try:
    import torch
except ImportError:
    torch = None

HEADS, WIDTH = 8, 64


def fastest(call, seconds):
    """The fastest of the calls that fit into so many seconds, at least three."""
    call()
    best, end, calls = float("inf"), time.perf_counter() + seconds, 0
    while calls < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return best


def tokens(n):
    random = np.random.default_rng(1)
    return [random.standard_normal((1, n, HEADS * WIDTH), dtype=np.float32) for _ in range(3)]


def definition(q, k, v, causal):
    n = q.shape[1]
    q, k, v = (x.astype(np.float64).reshape(n, HEADS, WIDTH).transpose(1, 0, 2) for x in (q, k, v))
    s = q @ k.transpose(0, 2, 1) / np.sqrt(WIDTH)
    if causal:
        s = np.where(np.tri(n, dtype=bool), s, -np.inf)
    p = np.exp(s - s.max(axis=2, keepdims=True))
    return ((p / p.sum(axis=2, keepdims=True)) @ v).transpose(1, 0, 2).reshape(1, n, HEADS * WIDTH)


def check(name, out, qkv, causal):
    """A peer that computes something else would be no peer. Long ones take too much memory here."""
    if out.shape[1] <= 1024:
        want = definition(*qkv, causal)
        error = np.linalg.norm(out - want) / np.linalg.norm(want)
        if not error < 1e-5:
            sys.exit(f"{name}: a relative error of {error}: it computes something else")


def onnx_runtime(n, causal, threads, seconds):
    shape = [1, n, HEADS * WIDTH]
    tensor = lambda name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    node = onnx.helper.make_node("MultiHeadAttention", ["q", "k", "v"], ["o"], domain="com.microsoft",
                                 num_heads=HEADS, unidirectional=int(causal))
    graph = onnx.helper.make_graph([node], "attention", [tensor(x) for x in "qkv"], [tensor("o")])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    qkv = tokens(n)
    binding = session.io_binding()
    for name, x in zip("qkv", qkv):
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(x))
    out = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
    binding.bind_ortvalue_output("o", out)
    best = fastest(lambda: session.run_with_iobinding(binding), seconds)
    check("onnxruntime", out.numpy(), qkv, causal)
    del binding, session  # its threads would go on waiting for work, in a loop
    gc.collect()
    return best


def pytorch(n, causal, threads, seconds):
    torch.set_num_threads(threads)
    qkv = tokens(n)
    q, k, v = (torch.from_numpy(x).view(1, n, HEADS, WIDTH).transpose(1, 2) for x in qkv)
    attention = torch.nn.functional.scaled_dot_product_attention
    with torch.inference_mode():
        best = fastest(lambda: attention(q, k, v, is_causal=causal), seconds)
        out = attention(q, k, v, is_causal=causal).transpose(1, 2).reshape(1, n, HEADS * WIDTH)
    check("torch", out.numpy(), qkv, causal)
    return best


def heed(program, n, causal, threads):
    name = f"forward/Tiled/heads:{HEADS}/n:{n}" + (f"/workers:{threads}" if threads > 1 else "")
    name += "/causal" if causal else ""
    with tempfile.TemporaryDirectory() as out:
        command = [program, "--suite=peers", f"--cases=^{name}$", f"--out={out}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return json.loads(Path(out, "results.json").read_text())["benchmarks"][0]["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="heed_benchmarks, built for this machine")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--threads", type=int, nargs="+", choices=[1, 2], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a peer in a round")
    arguments = parser.parse_args()

    peers = {"onnxruntime": onnx_runtime}
    if torch is not None and hasattr(torch.nn.functional, "scaled_dot_product_attention"):
        peers["torch"] = pytorch
    versions = [f"onnxruntime {onnxruntime.__version__}"] + ([f"torch {torch.__version__}"] if "torch" in peers else [])
    print(", ".join(versions), "- ratio: its time over heed's")
    print(f"{'n':>6} {'threads':>7} {'causal':>6} {'heed ms':>9}" + "".join(f"{p + ' ms':>16} {'ratio':>6}" for p in peers))
    lowest = {}
    for threads in arguments.threads:
        for causal in (False, True):
            for n in arguments.lengths:
                ours, theirs = float("inf"), dict.fromkeys(peers, float("inf"))
                for _ in range(arguments.rounds):
                    ours = min(ours, heed(arguments.program, n, causal, threads))
                    for name, run in peers.items():
                        theirs[name] = min(theirs[name], run(n, causal, threads, arguments.seconds))
                line = f"{n:>6} {threads:>7} {'yes' if causal else 'no':>6} {1e3 * ours:>9.3f}"
                for name, t in theirs.items():
                    line += f"{1e3 * t:>16.3f} {t / ours:>6.2f}"
                    key = (name, threads, causal)
                    lowest[key] = min(lowest.get(key, float("inf")), t / ours)
                print(line, flush=True)
    print("\nlowest ratio over all lengths")
    for (name, threads, causal), ratio in lowest.items():
        bar = (2.5 if causal else 1.3) if name == "onnxruntime" and threads == 1 else None
        verdict = "" if bar is None else f"  bar {bar}: {'met' if ratio >= bar else 'MISSED'}"
        print(f"  {name}, {threads} thread{'s' if threads > 1 else ''}{', causal' if causal else ''}: {ratio:.2f}{verdict}")


if __name__ == "__main__":
    main()
