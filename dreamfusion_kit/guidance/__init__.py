"""From a prior and a rendered view to a gradient on that view."""
