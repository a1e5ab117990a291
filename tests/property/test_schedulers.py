"""Every scheduler keeps the laws of schedulers."""

from __future__ import annotations

import math

from tuneflow.schedulers import (
    ASHA,
    BOHB,
    DEHB,
    FIFO,
    MOASHA,
    PASHA,
    PB2,
    PBT,
    CostASHA,
    Hyperband,
    MedianStopping,
    PBTReplay,
    ResourceChanging,
    SuccessiveHalving,
)
from tuneflow.schedulers.mo_asha import ParetoRung
from tuneflow.schedulers.rungs import Rungs
from tuneflow.testing import SchedulerSuite


class TestFIFO(SchedulerSuite):
    def make(self):
        return FIFO(max_resource=4)


class TestFIFOWithoutAnEnd(SchedulerSuite):
    def make(self):
        return FIFO()


class TestSuccessiveHalving(SchedulerSuite):
    def make(self):
        return SuccessiveHalving(max_resource=9)


class TestSuccessiveHalvingOfFractions(SchedulerSuite):
    def make(self):
        return SuccessiveHalving(max_resource=1.0, min_resource=1 / 27, n_trials=5)


class TestHyperband(SchedulerSuite):
    def make(self):
        return Hyperband(max_resource=9)


class TestHyperbandOfSmallSteps(SchedulerSuite):
    def make(self):
        return Hyperband(max_resource=5, reduction_factor=1.5, sizes="hpbandster")


class TestBOHB(SchedulerSuite):
    def make(self):
        return BOHB(max_resource=9)


class TestDEHB(SchedulerSuite):
    trials = 30

    def make(self):
        return DEHB(max_resource=9)


class TestDEHBOfSmallSteps(SchedulerSuite):
    trials = 30

    def make(self):
        return DEHB(max_resource=5, min_resource=1.5, reduction_factor=1.5)


class TestASHA(SchedulerSuite):
    def make(self):
        return ASHA(max_resource=9, reduction_factor=2)


class TestASHAWithBrackets(SchedulerSuite):
    def make(self):
        return ASHA(max_resource=9, reduction_factor=3, brackets=2)


class TestStoppingASHA(SchedulerSuite):
    def make(self):
        return ASHA(max_resource=9, reduction_factor=2, variant="stopping")


class TestStoppingASHAWithBrackets(SchedulerSuite):
    def make(self):
        return ASHA(max_resource=7.5, reduction_factor=2, variant="stopping", brackets=3)


class TestPASHA(SchedulerSuite):
    def make(self):
        return PASHA(max_resource=12, reduction_factor=2)


class TestCostASHA(SchedulerSuite):
    def make(self):
        # The one metric that trials have here; where it is negative the cost is not known.
        return CostASHA(max_resource=9, cost="loss", reduction_factor=2, brackets=2)


class TestMOASHA(SchedulerSuite):
    def make(self):
        return MOASHA(max_resource=9, reduction_factor=2)


class Torn(MOASHA):
    """A second objective that is at odds with the first, as trials have only one here."""

    def rungs(self, history):
        def measure(metrics):
            loss = history.loss(metrics)
            return loss, abs(loss - 1)

        return Rungs(self, measure, (math.inf, math.inf), ParetoRung)


class TestMOASHAOfTwoObjectives(SchedulerSuite):
    def make(self):
        return Torn(max_resource=9, reduction_factor=2, brackets=2)


class TestStoppingMOASHAOfTwoObjectives(SchedulerSuite):
    def make(self):
        return Torn(max_resource=9, reduction_factor=2, variant="stopping")


class TestMedianStopping(SchedulerSuite):
    def make(self):
        return MedianStopping(max_resource=6)


class TestMedianStoppingWithoutAnEnd(SchedulerSuite):
    def make(self):
        return MedianStopping(min_samples=1, min_resource=2)


class TestPBT(SchedulerSuite):
    def make(self):
        return PBT(max_resource=6, interval=2)


class TestSynchronousPBT(SchedulerSuite):
    def make(self):
        return PBT(max_resource=6, interval=1.5, quantile=0.5, synchronous=True)


class TestPB2(SchedulerSuite):
    # Each clone fits a model.
    examples = 8
    trials = 10

    def make(self):
        return PB2(max_resource=6, interval=2)


class TestPBTReplay(SchedulerSuite):
    def make(self):
        first = {"rate": 0.1, "layers": 1, "kind": "a", "start": 0}
        steps = [(2, first), (3, {**first, "layers": 2}), (6, {**first, "rate": 0.5})]
        return PBTReplay(tuple({"until": until, "params": params} for until, params in steps))


class TestResourceChanging(SchedulerSuite):
    def make(self):
        return ResourceChanging(ASHA(max_resource=9, reduction_factor=2), total={"gpu": 8})


class TestResourceChangingOfHalving(SchedulerSuite):
    def make(self):
        return ResourceChanging(SuccessiveHalving(max_resource=9), total={"cpu": 16}, policy="top")


class TestResourceChangingOfTrialsThatNeverPause(SchedulerSuite):
    def make(self):
        return ResourceChanging(FIFO(max_resource=5), total={"gpu": 4}, interval=2)


class TestResourceChangingOfStoppedTrials(SchedulerSuite):
    def make(self):
        base = ASHA(max_resource=9, reduction_factor=2, variant="stopping")
        return ResourceChanging(base, total={"gpu": 4}, policy="top", interval=1.5)
