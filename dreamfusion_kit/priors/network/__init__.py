"""Networks written or changed here, and how a network is run."""
