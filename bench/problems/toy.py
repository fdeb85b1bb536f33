"""Relative trajectory balance of torchgfn on doob's toy, from doob's own base models.

    python toy.py --run RUN --problem DIR --out OUT

RUN is a run folder of toy with the rows to compare with, DIR what `go run ./bench/problems -run RUN -out DIR` wrote.

Of torchgfn: the losses (RelativeTrajectoryBalanceGFlowNet, RelativeLogPartitionVarianceGFlowNet), the sampler, containers,
the environment DiffusionSampling and the base class of its policies. Written here: the policy. The library's own is a pinned
Brownian motion from 0, and the base model is a variance-preserving diffusion from N(0, I): Diffusion below gives the
library the transition kernel of doob's table of steps, and paths start from states drawn from N(0, I).
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from gfn.estimators import DiffusionPolicyEstimator
from gfn.gflownet import RelativeLogPartitionVarianceGFlowNet, RelativeTrajectoryBalanceGFlowNet
from gfn.gym.diffusion_sampling import BaseTarget, DiffusionSampling
from gfn.samplers import Sampler
from gfn.utils.distributions import IsotropicGaussian
from safetensors.torch import load_file, save_file

import doob
import metrics
import table

COLUMNS = [
    ("mode_tv", "mode TV", "{:.3f}"),
    ("sw2", "SW2", "{:.3f}"),
    ("log_z", "log Ẑ", "{:.3f}"),
    ("log_z_error", "log Ẑ − log Z", "{:+.3f}"),
    ("ess_fraction", "ESS", "{:.2f}"),
    ("reward", "reward", "{:.2f}"),
    ("network_calls", "calls", "{:.4g}"),
    ("seconds", "seconds", "{:.0f}"),
]


class Reward(BaseTarget):
    """doob's reward as a target of the library: the log-likelihood of a Gaussian mixture."""

    def __init__(self, device, reward):
        self.means, self.sd = torch.tensor(reward["Means"]), reward["SD"]
        weights = torch.tensor(reward["Weights"])
        self.log_weights = torch.log(weights / weights.sum())
        super().__init__(device, self.means.shape[1], 0)

    def log_reward(self, x):
        square = ((x[..., None, :] - self.means) ** 2).sum(-1) / self.sd**2
        dim = self.means.shape[1]
        return torch.logsumexp(self.log_weights - 0.5 * square - 0.5 * dim * math.log(2 * math.pi * self.sd**2), -1)


class Diffusion(DiffusionPolicyEstimator):
    """The transition x' = A·x + K·ε + S·z of doob's steps as a policy: its actions are x' − x, states are (x, i/(n+1))."""

    def __init__(self, network, steps, dim):
        network.input_dim = dim + 1  # the library asks for it
        super().__init__(s_dim=dim, module=network)
        self.steps = steps.float()
        self.n = len(steps)

    def index(self, states):
        return (states.tensor[:, -1] * (self.n + 1)).round().long()

    def forward(self, states):
        """ε of all states but the final ones, whose only action is to stop: these need no network."""
        i = self.index(states)
        moving = i < self.n
        eps = torch.zeros(len(i), self.s_dim)
        if moving.all():
            return self.module(states.tensor[:, :-1], self.steps[i, 0])
        if moving.any():
            eps[moving] = self.module(states.tensor[moving, :-1], self.steps[i[moving], 0])
        return eps

    def to_probability_distribution(self, states, module_output, **_):
        i = self.index(states)
        _, _, a, k, s = self.steps[i.clamp(max=self.n - 1)].T[:, :, None]
        mean = (a - 1) * states.tensor[:, :-1] + k * module_output
        return IsotropicGaussian(torch.where((i < self.n)[:, None], mean, torch.full_like(mean, -math.inf)), s)


def environment(problem):
    DiffusionSampling.DIFFUSION_TARGETS["doob"] = Reward, {}
    # One step more than moves: the library's last one is to stop.
    return DiffusionSampling("doob", {"reward": problem.settings["reward"]}, len(problem["steps"]) + 1)


def simulate(sampler, env, n, dim, save_logprobs):
    start = env.states_from_tensor(torch.cat([torch.randn(n, dim), torch.zeros(n, 1)], -1))
    return sampler.sample_trajectories(env, states=start, save_logprobs=save_logprobs)


def fine_tune(problem, base, loss, calls, o, generator_seed):
    """Fine-tunes a copy of the base model until the calls are spent; returns samples, log weights and what else is told."""
    torch.manual_seed(generator_seed)
    settings, steps, dim = problem.settings, problem["steps"], problem.settings["dim"]
    env = environment(problem)
    prior_net, net = base, copy.deepcopy(base)
    prior_net.requires_grad_(False)
    prior_net.calls = net.calls = 0
    prior, posterior = Diffusion(prior_net, steps, dim), Diffusion(net, steps, dim)
    gflownet = loss(pf=posterior, prior_pf=prior)
    groups = [{"params": list(gflownet.pf.parameters()), "lr": o["lr"]}]
    logz = list(gflownet.logz_parameters()) if loss is RelativeTrajectoryBalanceGFlowNet else []
    if logz:
        groups.append({"params": logz, "lr": o["lr_logz"]})
    optimizer = torch.optim.Adam(groups, lr=o["lr"])
    sampler = Sampler(posterior)
    # A path of the samples costs what one of training does: the posterior to simulate it, the prior to weigh it.
    samples, path = settings["samples"], 2 * len(steps)
    iterations = int((calls - samples * path) // (o["batch"] * path))
    start = time.process_time()
    for it in range(iterations):
        for group in groups[: 1 if o["decay"] else 0]:
            optimizer.param_groups[0]["lr"] = o["lr"] * 0.5 * (1 + math.cos(math.pi * it / iterations))
        trajectories = simulate(sampler, env, o["batch"], dim, True)
        optimizer.zero_grad()
        value = gflownet.loss(env, trajectories, recalculate_all_logprobs=False)
        value.backward()
        if o["clip"]:
            torch.nn.utils.clip_grad_norm_(gflownet.pf.parameters(), o["clip"])
        optimizer.step()
    xs, log_w = [], []
    with torch.no_grad():
        for lo in range(0, samples, 2000):
            trajectories = simulate(sampler, env, min(2000, samples - lo), dim, True)
            xs.append(trajectories.terminating_states.tensor[:, :-1])
            log_w.append(-gflownet.get_scores(trajectories, recalculate_all_logprobs=False).double())
        x = torch.cat(xs)
        out = {
            "x": x,
            "log_w": torch.cat(log_w).numpy(),
            "reward": float(env.target.log_reward(x).double().mean()),
            "network_calls": prior_net.calls + net.calls,
            "paths": iterations * o["batch"] + samples,
            "seconds": time.process_time() - start,
            "iterations": iterations,
        }
    if logz:
        out["log_z_learned"] = float(logz[0])
    return out


def judge(problem, seed, x):
    x = np.asarray(x)
    return {
        "mode_tv": metrics.total_variation(metrics.mode_weights(x, problem["centres"].numpy()), problem["cells"].numpy()),
        "sw2": metrics.sliced_w2(x, problem[f"exact.{seed}"].numpy(), problem["directions"].numpy()),
    }


def check(problem, run, results):
    """That base models and metrics are doob's: on points, and on the samples that the run has kept."""
    s = problem.settings
    out = {}
    for seed in range(s["seed"], s["seed"] + s["seeds"]):
        got = base_model(problem, run, seed)(problem["check.x"], problem["check.t"]).detach()
        out[f"eps, seed {seed}"] = doob.agree(f"ε of the base model of seed {seed}", got, problem[f"check.eps.{seed}"], 1e-4)
    for name in results:
        file = run / "samples" / f"{name}.safetensors"
        if not file.exists():
            continue
        x = load_file(file)["samples"].numpy().reshape(-1, s["dim"])
        for metric, value in judge(problem, s["seed"], x).items():
            out[f"{metric} of {name}"] = doob.agree(f"{metric} of {name}", value, results[name][s["seed"]][metric], 1e-6)
    return out


def base_model(problem, run, seed):
    name = "base" if seed == problem.settings["seed"] else f"base_seed_{seed}"
    return doob.MLP(run / "checkpoint" / f"{name}.safetensors", problem.process, problem.settings["network"])


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--run", type=Path, required=True, help="run folder of toy")
    a.add_argument("--problem", type=Path, required=True, help="what the Go program beside this file made of it")
    a.add_argument("--out", type=Path, required=True, help="folder for results.json, results.md and samples")
    a.add_argument("--seeds", type=int, default=0, help="repetitions; 0 means those of the run")
    a.add_argument("--like", default="importance", help="the row of the run whose network calls the library gets")
    a.add_argument("--loss", default="rtb,vargrad", help="rtb, vargrad or both")
    a.add_argument("--lr", type=float, default=3e-3)
    a.add_argument("--lr-logz", type=float, default=0.1)
    a.add_argument("--batch", type=int, default=64, help="paths in an iteration")
    a.add_argument("--clip", type=float, default=1.0, help="norm of gradients, 0 for none")
    a.add_argument("--decay", action=argparse.BooleanOptionalAction, default=True, help="cosine decay of the learning rate")
    a.add_argument("--shift", type=int, default=0, help="added to the seeds of noise: other noise to choose settings by")
    o = a.parse_args()
    torch.set_num_threads(1)
    problem = doob.Problem(o.problem)
    s = problem.settings
    report = json.loads((o.run / "report.json").read_text())
    results = table.of_run(o.run)
    checks = check(problem, o.run, results)
    budget = report["methods"][o.like]["network_calls"]
    options = {"lr": o.lr, "lr_logz": o.lr_logz, "batch": o.batch, "clip": o.clip, "decay": o.decay}
    losses = {"rtb": RelativeTrajectoryBalanceGFlowNet, "vargrad": RelativeLogPartitionVarianceGFlowNet}
    titles = {"rtb": "torchgfn, relative trajectory balance", "vargrad": "torchgfn, relative log-partition variance"}
    notes = [
        f"Network calls as many as doob's {o.like}, training and the {s['samples']} samples together."
        f" Exact log Z {s['log_z']:.4f}; SW2 of two exact sets {report['floor']['sw2']:.3f}.",
        f"torchgfn with {options}.",
    ]
    rows, raw = [], {}
    o.out.mkdir(parents=True, exist_ok=True)
    for name in report["order"]:
        rows.append(table.row("doob: " + report["titles"][name], [with_error(s, v) for v in results[name].values()]))
    for name in o.loss.split(","):
        each = []
        for seed in range(s["seed"], s["seed"] + (o.seeds or s["seeds"])):
            r = fine_tune(problem, base_model(problem, o.run, seed), losses[name], budget, options, seed + o.shift)
            x, log_w = r.pop("x"), r.pop("log_w")
            save_file({"samples": x}, o.out / f"torchgfn_{name}_seed_{seed}.safetensors")
            r |= judge(problem, seed, x)
            r |= {"log_z": metrics.log_mean_exp(log_w), "ess_fraction": metrics.ess_fraction(log_w)}
            each.append(with_error(s, r))
            print(titles[name], "seed", seed, json.dumps(r), flush=True)
        raw[name] = each
        rows.append(table.row(titles[name], each))
        more = {"options": options, "budget": budget, "checks": checks, "raw": raw, "log_z": s["log_z"], "like": o.like}
        table.write(o.out, "Toy", COLUMNS, rows, notes, more)


def with_error(settings, r):
    return r | {"log_z_error": r["log_z"] - settings["log_z"]} if r.get("log_z") is not None else r


if __name__ == "__main__":
    main()
