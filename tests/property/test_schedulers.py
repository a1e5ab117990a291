"""Every scheduler keeps the laws of schedulers."""

from __future__ import annotations

from tuneflow.schedulers import ASHA, FIFO, PBT, Hyperband, MedianStopping, SuccessiveHalving
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
