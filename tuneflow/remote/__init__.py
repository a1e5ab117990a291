"""A stored study on a Dask cluster that no process of ours has to hold on to.

A driver of a study's own (`tuneflow.executors.dask`) lives as long as its trials run. Here a
worker is told which segment of which study to run, or to drive a whole study, and whoever asked
may go away: what counts is in the store.
"""
