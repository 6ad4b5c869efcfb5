"""The front page of asv's pages: headline ratios, accuracy, trend. `python -m benchmarks.dashboard --help`."""
