"""Side-by-side benchmarks: Linckia, its peers and the physical limits, alternately in one run. See README.md."""
