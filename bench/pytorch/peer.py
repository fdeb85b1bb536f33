"""A worker that runs works in PyTorch and times them.

It reads one JSON request per line on standard input,

    {"work": "conv", "variant": "nhwc", "args": {"batch": 64, ...}, "seconds": 0.12}

repeats that work for about so many seconds (at least once; with "seconds": 0 it only builds the work and runs it once),
and answers with one line,

    {"iterations": 31, "wall": 0.121, "cpu": 0.24, "busy": 0.25, "peak_rss": 512000000}

or {"error": "..."}. Wall and cpu (of this process) are seconds. Busy is the processor time of the whole machine over the
same interval, in steps of 10 ms, from /proc/stat. Peak_rss is VmHWM in bytes, the peak since the process began.
"""

import gc
import json
import os
import resource
import sys
import time

import torch


def about():
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": sys.version.split()[0],
    }


def stable(name):
    def build(*args, **kwargs):
        import stable  # it alone needs diffusers

        return getattr(stable, name)(*args, **kwargs)

    return build


def builders():
    import kernels
    import mnist
    import nets
    import toy
    import transformer

    return {
        "gemm": kernels.gemm,
        "conv": kernels.conv,
        "attention": transformer.attention,
        "layer_norm": transformer.layer_norm,
        "geglu": transformer.geglu,
        "mlp_train": nets.mlp_train,
        "unet_train": nets.unet_train,
        "unet_sample": nets.unet_sample,
        "mnist_pretrain": mnist.pretrain,
        "mnist_finetune": mnist.finetune,
        "mnist_sample": mnist.sample,
        "importance": toy.importance,
        "sd_unet": stable("unet"),
        "sd_lora": stable("lora"),
    }


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def busy_seconds():
    """Processor time used on the machine since boot: user, nice, system, irq, softirq and steal."""
    with open("/proc/stat") as f:
        ticks = [int(v) for v in f.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def peak_rss():
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def measure(step, seconds):
    busy, cpu, start = busy_seconds(), cpu_seconds(), time.perf_counter()
    iterations = 0
    while True:
        step()
        iterations += 1
        wall = time.perf_counter() - start
        if wall >= seconds:
            break
    cpu = cpu_seconds() - cpu
    return {"iterations": iterations, "wall": wall, "cpu": cpu, "busy": busy_seconds() - busy, "peak_rss": peak_rss()}


def main():
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # as Go counts them
    torch.manual_seed(0)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    steps = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["work"] == "about":
                answer = {"about": about(), "peak_rss": peak_rss()}
            else:
                key = json.dumps([request["work"], request["variant"], request["args"]], sort_keys=True)
                if key not in steps:
                    steps[key] = builders()[request["work"]](request["variant"].split(), **request["args"])
                answer = measure(steps[key], request["seconds"])
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {e}".strip().splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    gc.disable()  # of reference cycles, which pauses at random; what the works allocate is freed by reference counts
    main()
