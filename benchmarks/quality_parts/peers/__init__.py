"""Other libraries, driven by the same simulated cluster."""
