"""Time that tests make pass."""


class FakeClock:
    """A clock, in the place of time.monotonic, that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
