"""A clock that stands still until a test moves it."""


class Clock:
    """Unix seconds, as a stand-in cloud asks for them."""

    def __init__(self, now: float = 1_795_262_400.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def tick(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds
