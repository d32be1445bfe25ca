"""From a field to an image: sampling, empty space, compositing, shading, backgrounds."""
