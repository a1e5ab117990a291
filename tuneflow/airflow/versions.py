"""Names that Airflow 3.0 and 3.1 have elsewhere than Airflow 3.2 and newer."""

from __future__ import annotations

import airflow

try:
    from airflow.sdk import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
        DownstreamTasksSkipped,
        TaskDeferralTimeout,
        TaskDeferred,
    )
except ImportError:
    from airflow.configuration import conf
    from airflow.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
        DownstreamTasksSkipped,
        TaskDeferralTimeout,
        TaskDeferred,
    )

try:
    from airflow.sdk import BaseHook
except ImportError:
    from airflow.hooks.base import BaseHook

try:
    from airflow.sdk.log import mask_secret
except ImportError:
    from airflow.sdk.execution_time.secrets_masker import mask_secret

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSkipException",
    "BaseHook",
    "DownstreamTasksSkipped",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "conf",
    "has_cookie_login",
    "mask_secret",
]


def has_cookie_login() -> bool:
    """Return whether a browser that is logged in can open what a plugin serves: from 3.1.1 on."""
    from packaging.version import Version

    return Version(airflow.__version__) >= Version("3.1.1")
