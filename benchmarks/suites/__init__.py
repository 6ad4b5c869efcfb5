"""asv suites: what of speed, memory and quality is followed from commit to commit. `docs/benchmarks.md` says how to run them.

The suites of today run against commits of the past: a feature that a commit lacks is looked up by `data.feature`, which skips the
benchmark there. `version` is raised by hand when a benchmark's work changes, and with it its history begins anew.
"""
