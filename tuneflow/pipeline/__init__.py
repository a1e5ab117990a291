"""A study as an orchestrator's tasks see it: what Airflow and Prefect share.

It knows neither of them. A task opens a round or runs a segment, both of which may be done again;
what is here says which study that is, where a run of it begins, and what to call its parts.
"""
