"""Scheduled retuning: warm starts, and a champion that only a better challenger replaces."""
