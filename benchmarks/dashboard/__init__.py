"""The front page over asv's pages: headline ratios, accuracy, trend. `python -m benchmarks.dashboard --help`."""
