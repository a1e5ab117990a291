"""What people see of a study: the terminal views and the HTML report.

The package is not called ``report``, because ``tuneflow.report`` is a function.
"""
