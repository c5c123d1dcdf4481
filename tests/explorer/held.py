"""A runner that works when a test says so."""

from insitu_widgets.explorer.runner import Inline


class Held(Inline):
    """Keeps the newest request, and works on it when it is told to."""

    def request(self, *asked):
        """Keep what is asked."""
        self.asked = asked

    def deliver(self):
        """Work to the end."""
        super().request(*self.asked)

    def fail(self, error):
        """End as a failure does, before the first step."""
        _, _, on_end = self.asked
        on_end(error)
