"""What a machine with an NVIDIA card does with this service: `python -m benchmarks.gpu`.

`check` runs the tests marked `gpu` and the measurements, each in a process of its own, and
writes what they tell after each event. It, `environment`, `results`, `supervise` and `page`
import Python's own library alone, so that they run wherever there is a Python.
"""
