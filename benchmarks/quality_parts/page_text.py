"""The text of docs/quality.md around its tables."""

from __future__ import annotations

PAGE = """\
# Quality

How good the schedulers and searchers are: the regret of their incumbents over simulated time, next
to the same algorithms in other libraries. Written by

    python -m benchmarks.quality --peers FOLDER

on {date}, with {seeds}. What is required, and what was found:

{verdict}

What to make of it:

- On forrester and boosting low levels mislead, so all that stops early ends behind random search
  there, in every library. Hyperband, which runs some trials to the end at once, and BOHB hardly
  lose; a grace period (`tuneflow/asha_grace`: R/9) helps ASHA on boosting.
- `tuneflow/asha_stopping` and `tuneflow/median` stop a trial at once, as processes and commands are
  stopped. A trial in a thread is stopped at its next report, and so takes one unit more; at the
  lowest rung that doubles what it costs. The promotion form pauses at its rung and pays nothing.
- `syne/pbt` is another algorithm than PBT with a population: it has eight members for the whole
  time, begins a random trial whenever one is complete, and makes of each clone a new trial. So it
  tries some 1,000 configurations where the 64 members of ours and of Ray are complete after
  two thirds of the time. Where a clone has the value of its parameters at once, that pays.

## Against the references

Each of ours next to the same algorithm elsewhere, paired by problem and seed: how often it ended
with less, the same and more regret; the median of its regret as a multiple of the reference's
(below 1 is better); and Wilcoxon's signed-rank test, one-sided, of whether it is worse, as it is
and corrected by Holm for the number of rows. The test is on the logarithm of regret, with a
thousandth of random search's final regret added to both sides.

{compared}

## ASHA against random search

When ASHA's incumbent first was as good as random search's is at the end, as a part of the whole
time; paired by seed. The goal is a median of at most 1/3.

{asha}

## Models against random search

The p value of ending with less regret than `tuneflow/random` (Wilcoxon's signed-rank test,
one-sided, paired by seed). The goal is p < 0.01 for BOHB and TPE on bowl6.

{models}

## Regret over time

Medians over the seeds. Dashed lines are other libraries.

{plots}

## Final regret

Medians over the seeds; the best of each problem is bold.

{finals}

## Regret after a third of the time

{thirds}

## Searchers

40 trials to the end (FIFO), and ASHA for the whole time where a searcher proposes in milliseconds.
5 seeds, so read differences below a factor of 2 as noise. Failed trials are among the 40. What is
empty was not run with all seeds. HEBO and dragonfly, which need environments of their own and tens
of seconds to begin, are not compared.

{searchers}

## Computing

Trials and seconds of computing in a run, in the median: all that is not a simulated trial.

{seconds}

## How it is measured

**Problems.** All are minimised, with eta = 3.

| problem | parameters | R | what it is |
| --- | --- | --- | --- |
| bowl6 | 6 | 81 | squared distance to a point, plus 0.3/r, plus noise of 0.02/√r |
| mfhartmann3, mfhartmann6 | 3, 6 | 27 | Hartmann's functions, flatter and noisier at low levels |
| mlp | 5 | 27 | a network on the digits, cross-entropy; a unit is an epoch |
| boosting | 5 | 27 | gradient boosting on breast cancer, cross-entropy; a unit is 3 trees |
| branin | 2 | 27 | Branin's function; its coefficients drift with the level |
| sgd | 4 | 27 | a linear classifier on the digits, share of errors; a unit is an epoch |
| forrester | 1 | 27 | Forrester's function, mixed with its cheap form at low levels |

Branin's and Hartmann's fidelities are those of Kandasamy et al. (Multi-fidelity Bayesian
Optimisation with Continuous Approximations, ICML 2017), with a bias of 1 and a noise of 0.2 on
Hartmann's. forrester and boosting mislead on purpose: what is good at a low level is not what is
good at R, and whoever stops early there loses, unless it hedges as Hyperband does. A unit of mlp
takes longer for a wide network (by a formula); everywhere else all units cost the same.

mlp, boosting and sgd are tabular surrogates: 600 configurations (mlp: 400) were trained once, and a
configuration is answered with the learning curve of the nearest one. So several configurations
share the best value, and a regret of 0 is within reach. There the seeds differ in what the
algorithm draws and in the cluster, but not in noise. Everywhere else the noise is a function of
the configuration, the level and the seed, so it is the same for every algorithm.

**Cluster.** 8 workers for 12 times what one full trial takes, so random search completes about 90
trials. Each segment's slowness is log-normal (0.5); a trial fails on its way to R with a chance of
8 %; a worker is lost once in the time of ten full trials, and then its trial goes on from its
checkpoint, three times at most. Ours run as true studies on the executor `simulated`. The others
are called back by an event loop with the same draws (benchmarks/quality_parts/cluster.py), in
which a trial that they stop or pause ends at that very report; so it does on ours, which is
`interruptible`. Asking takes no simulated time for anybody.

**Incumbent.** The configuration with the best observed value at the highest rung that any trial
has reached so far (rungs: 1, 3, 9 … R). Its regret is measured without noise at R, which no
algorithm sees. The rule is the same for all, whatever each one would itself return.

**Algorithms.** eta is 3 everywhere but where a row says *default*. `tuneflow/baseline` gives 40 R
configurations one unit each and the best 40 the rest. PBT has a population of 64 in tuneflow and
Ray; Syne Tune's begins a new trial whenever one ends, so it has no such number. Under PBT a clone
has the value of its new parameters at once, on these problems, so it is an evolutionary search
here.

**The others.**

- *Optuna* 5: its samplers and pruners, by ask and tell, with a report at each unit. Its TPE is
  multivariate with a constant liar by default, which is the best setting too; *best* pruners have
  `min_resource=1` and a reduction factor of 3.
- *HpBandSter* 0.7.4 (`hb`): its iterations and generators in the loop of its master, without the
  Pyro name server. A configuration that advances goes on from its checkpoint.
- *DEHB* 0.1.2 of its authors, by its ask and tell.
- *Syne Tune* 0.16 (`syne`) and 0.13 (`syne_old`): their schedulers, called back as the Tuner does.
  0.16 has ASHA in the stopping form only, and `syne/bohb` is that with a density model; promotion,
  cost-aware promotion, PASHA, synchronous Hyperband and DEHB are those of 0.13, the last version
  that had them.
- *Ray Tune* 2.60: its scheduler classes, called back as its controller does, with a stand-in for
  the controller and for its trials. They bring no searcher and are given the configurations of
  `tuneflow/random`.

What takes many seconds for a run was run on fewer problems: `hb/bohb`, `syne/bohb` and
`ray/median (best)` on bowl6, mfhartmann6 and mlp; `syne_old/pasha` on the last two; PB2 with 5
seeds on these three.

**Not shown here.** Multi-objective ASHA has no regret; the resource-changing scheduler needs a
cluster whose trials get faster with more devices; PBT's replay searches nothing.
"""
