"""Field, background, proposal network and occupancy grid as one object."""
