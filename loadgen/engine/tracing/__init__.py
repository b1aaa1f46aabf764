"""Which sampled requests, steps and iterations of plans with tracing are stored, and how many each stands for."""
